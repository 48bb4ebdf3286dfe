"""Alerts leave the running product, and others' come in: a webhook by Apprise, a real Alertmanager in both directions."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.alertmanager import Mailbox, running_alertmanager
from tests.fixtures.platform import Platform, until

Json = dict[str, Any]


@pytest.fixture(scope="module")
def alertmanager(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One that tells the platform of what others tell it, as infra/prometheus/alertmanager.yaml does."""
    folder = tmp_path_factory.mktemp("alertmanager")
    known = platform._announcement()
    webhook = {
        "url": f"{known['url']}/v1/alertmanager",
        "send_resolved": True,
        "http_config": {
            "authorization": {"credentials": known["token"]},
            "tls_config": {"ca_file": known["ca"]},
        },
    }
    with running_alertmanager(folder, {"webhook_configs": [webhook]}) as url:
        yield url


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with Mailbox().open() as mailbox:
        yield mailbox


@pytest.fixture
def failed(platform: Platform, image_test: str, mailbox: Mailbox, alertmanager: str) -> Iterator[str]:
    """A workload that keeps failing, after the sinks were made; its name."""
    name = f"sad-{secrets.token_hex(3)}"
    platform.ok("alerts", "add-sink", "box", f"json://127.0.0.1:{mailbox.port}/", "--min-severity", "warning")
    platform.ok("alerts", "add-sink", "other", alertmanager, "--kind", "alertmanager")
    quick = ("--set", "restart.backoff.initial=0.2s", "--no-wait")
    platform.ok("run", image_test, "--name", name, *quick, "--", "sh", "-c", "exit 3")
    yield name
    platform.ok("rm", name, "--yes")
    for sink in ("box", "other"):
        platform.ok("alerts", "rm-sink", sink)


def test_people_and_an_alertmanager_are_told_and_what_comes_back_is_known(
    platform: Platform, failed: str, mailbox: Mailbox, alertmanager: str
) -> None:
    assert "has reached" in platform.ok("alerts", "test-sink", "box")
    mailbox.refusals = 1

    def told() -> Json | None:
        return next((each for each in mailbox.received if failed in each["message"]), None)

    message = until(told, timeout_s=60, what="the webhook's message")
    assert message is not None
    assert message["title"].startswith("[") and f"workload default/{failed}: " in message["message"]

    def there() -> Json | None:
        alerts = httpx.get(f"{alertmanager}/api/v2/alerts").json()
        return next((each for each in alerts if each["labels"].get("workload") == failed), None)

    shown = until(there, timeout_s=30, what="the alert at the Alertmanager")
    assert shown is not None
    assert shown["labels"]["alertname"] in ("LatticeDeployFailed", "LatticeWorkloadCrashLooping")
    deliveries = platform.json("alerts", "deliveries", "--sink", "box")["items"]
    tries = {each["attempts"] for each in deliveries if failed in each["alert"] and each["state"] == "sent"}
    assert 2 in tries, "refused once, and tried again"
    ours = [each for each in platform.json("alerts", "ls")["items"] if each["source"] == "alertmanager"]
    assert ours == [], "the Alertmanager told us of our own alert, and it is known"


def test_what_others_tell_the_alertmanager_is_an_alert_here(platform: Platform, alertmanager: str) -> None:
    name = f"Foreign{secrets.token_hex(3)}"
    alert: Json = {
        "labels": {"alertname": name, "severity": "critical", "instance": "web-1"},
        "annotations": {"description": "p99 is 3 s"},
    }
    httpx.post(f"{alertmanager}/api/v2/alerts", json=[alert]).raise_for_status()

    def here(state: str) -> Json | None:
        found = platform.json("alerts", "ls", "--all")["items"]
        return next((each for each in found if each["name"] == name and each["state"] == state), None)

    shown = until(lambda: here("open"), timeout_s=30, what="the alert here")
    assert shown is not None
    assert (shown["severity"], shown["entity_name"], shown["description"]) == (
        "critical",
        "web-1",
        "p99 is 3 s",
    )
    alert["endsAt"] = datetime.now(UTC).isoformat()
    httpx.post(f"{alertmanager}/api/v2/alerts", json=[alert]).raise_for_status()
    until(lambda: here("resolved"), timeout_s=30, what="its end")


def test_a_sink_that_cannot_be_reached_says_so(platform: Platform, tmp_path: Path) -> None:
    platform.ok("alerts", "add-sink", "nowhere", "json://127.0.0.1:1/")
    said = platform.refused("alerts", "test-sink", "nowhere")
    assert "did not reach nowhere" in said and "Why:" in said
    assert "json" in platform.ok("alerts", "sinks")
    assert "address of Apprise" in platform.refused("alerts", "add-sink", "bad", "dbus://")
    platform.ok("alerts", "rm-sink", "nowhere")
