"""The CLI's `alerts` and `user sre-…` as a process against a gateway over HTTPS: what it asks, prints and returns."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lattice.contracts import views
from lattice.contracts.messages import (
    Alert,
    AlertChange,
    AlertSource,
    AlertState,
    Matchers,
    Severity,
    SilenceView,
    SinkKind,
    SinkTested,
    SinkView,
)
from tests.fixtures.cli_answers import NOW, listing, plain
from tests.fixtures.cli_gateway import StubGateway, problem

if TYPE_CHECKING:
    from tests.fixtures.cli_run import Cli

pytest_plugins = ["tests.fixtures.cli_run"]

LATER = NOW + timedelta(days=5)  # less what a slow machine takes


def alert(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": "al-1",
        "fingerprint": "f1",
        "name": "LatticeNodeUnreachable",
        "severity": Severity.CRITICAL,
        "source": AlertSource.NODE,
        "project": "_platform",
        "state": AlertState.OPEN,
        "change": AlertChange.OPENED,
        "number": 1,
        "entity_id": "nd-1",
        "entity_name": "hydra",
        "summary": "A node cannot be reached.",
        "description": "node hydra was not heard\x1b[31m for a while",
        "runbook_url": "https://docs.test/node-unreachable",
        "opened_at": NOW - timedelta(minutes=3),
        "changed_at": NOW,
    }
    return plain(Alert(**{**values, **changes}))


def silence(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": "si-1",
        "matchers": Matchers(entity="hydra"),
        "starts_at": NOW,
        "ends_at": LATER,
        "reason": "new disk",
        "created_by": "user:ann",
        "active": True,
    }
    return plain(SilenceView(**{**values, **changes}))


def test_alerts_are_listed_over_all_projects_without_what_would_steer_a_terminal(
    cli: Cli, gateway: StubGateway
) -> None:
    quiet = alert(id="al-2", state=AlertState.SILENCED, silenced_until=LATER, project="shop")
    gateway.on("GET", "/v1/alerts", listing(alert(), quiet))
    ran = cli("alerts", "ls")
    assert ran.code == 0 and "\x1b" not in ran.out
    title, first, second = ran.out.splitlines()
    assert title.split() == ["ID", "SEVERITY", "STATE", "ALERT", "OF", "AGE", "WHAT"]
    assert first.split()[:6] == ["al-1", "critical", "open", "LatticeNodeUnreachable", "node", "hydra"]
    assert "silenced 4d" in second and "node shop/hydra" in second
    assert gateway.asked("GET", "/v1/alerts")[0].query["project"] == "*"
    cli("alerts", "ls", "--all", "--severity", "critical", "--project", "shop")
    query = gateway.asked("GET", "/v1/alerts")[1].query
    assert (query["project"], query["resolved"], query["severity"]) == ("shop", "true", "critical")


def test_where_nothing_is_wrong_it_says_so(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("GET", "/v1/alerts", listing())
    ran = cli("alerts", "ls")
    assert (ran.out, ran.err.strip()) == ("", "Nothing is wrong.")


def test_one_is_shown_looked_after_and_declared_over(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("GET", "/v1/alerts/al-1", alert())
    shown = cli("alerts", "show", "al-1").out
    assert "What to do:" in shown and "https://docs.test/node-unreachable" in shown
    acked = alert(state=AlertState.ACKNOWLEDGED, acknowledged_by="user:ann")
    gateway.on("POST", "/v1/alerts/al-1/ack", acked)
    assert (
        cli("alerts", "ack", "al-1", "--note", "on it").out
        == "LatticeNodeUnreachable is looked after by user:ann.\n"
    )
    assert gateway.asked("POST", "/v1/alerts/al-1/ack")[0].json == {"note": "on it"}
    gateway.on("POST", "/v1/alerts/al-1/resolve", problem(409, "conflict", "Conflict", "It was over."))
    refused = cli("alerts", "resolve", "al-1")
    assert refused.code == 1 and "It was over." in refused.err


def test_silences_and_windows(cli: Cli, gateway: StubGateway) -> None:
    gateway.on("POST", "/v1/alerts/al-1/silence", silence(), status=201)
    ran = cli("alerts", "silence", "al-1", "--for", "2h", "--reason", "new disk")
    assert "Nobody is told of it until" in ran.out and "lattice alerts unsilence si-1" in ran.err
    assert gateway.asked("POST", "/v1/alerts/al-1/silence")[0].json == {"for_s": 7200, "reason": "new disk"}
    gateway.on("POST", "/v1/silences", silence(active=False), status=201)
    cli("alerts", "window", "--entity", "hydra", "--from", "1h", "--for", "30m", "--reason", "new disk")
    sent = gateway.asked("POST", "/v1/silences")[0].json
    assert (sent["entity"], sent["for_s"]) == ("hydra", 1800) and sent["starts_at"].endswith("Z")
    gateway.on("GET", "/v1/silences", listing(silence()))
    assert "entity=hydra" in cli("alerts", "silences").out
    gateway.on("DELETE", "/v1/silences/si-1", silence(active=False))
    assert cli("alerts", "unsilence", "si-1").out == "si-1 has ended.\n"
    assert cli("alerts", "window", "--for", "soon", "--reason", "x").code == 2


def test_sinks(cli: Cli, gateway: StubGateway) -> None:
    view = SinkView(
        id="sk-1", name="team", kind=SinkKind.MESSAGES, target="slack://…", min_severity=Severity.WARNING,
        created_by="user:ann", created_at=NOW, problem="it answered 401",
    )  # fmt: skip
    gateway.on("POST", "/v1/sinks", plain(view), status=201)
    assert cli("alerts", "add-sink", "team", "slack://a/b/c", "--min-severity", "warning").code == 0
    assert gateway.asked("POST", "/v1/sinks")[0].json == {
        "name": "team", "kind": "messages", "url": "slack://a/b/c", "min_severity": "warning",
    }  # fmt: skip
    gateway.on("GET", "/v1/sinks", listing(plain(view)))
    assert "it answered 401" in cli("alerts", "sinks").out
    tested = SinkTested(delivered=False, problem="it answered 401")
    gateway.on("POST", "/v1/sinks/team/test", plain(tested))
    ran = cli("alerts", "test-sink", "team")
    assert ran.code == 1 and "did not reach team" in ran.err and "it answered 401" in ran.err


def test_a_credential_is_written_to_private_files_and_never_over_others(
    cli: Cli, gateway: StubGateway, tmp_path: Path
) -> None:
    made = views.SreCredentialCreated(
        id="sr-1", name="pager", may_order=True, created_by="user:ann", created_at=NOW, expires_at=LATER,
        urls=("tls://10.0.0.1:4222",), server_name="nats", ca="CA", certificate="CERT", private_key="KEY", creds="CREDS",
        subscribe="lattice.alert.*.*.*.*", order="lattice.alert-order._all.sr-1", inbox_prefix="_INBOX_sr-1",
    )  # fmt: skip
    gateway.on("POST", "/v1/sre-credentials", plain(made), status=201)
    folder = tmp_path / "pager"
    ran = cli("user", "sre-credential", "pager", "--to", str(folder), "--may-order")
    subscribe, order = ran.out.splitlines()
    assert subscribe.startswith("nats --server=tls://10.0.0.1:4222") and subscribe.endswith(
        "'lattice.alert.*.*.*.*'"
    )
    assert "lattice.alert-order._all.sr-1.acknowledge" in order
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "ca.pem": "CA", "client.pem": "CERT", "client-key.pem": "KEY", "nats.creds": "CREDS",
    }  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    again = cli("user", "sre-credential", "pager", "--to", str(folder))
    assert again.code == 1 and "is not empty" in again.err
    assert len(gateway.asked("POST", "/v1/sre-credentials")) == 1, "before anything is made"
    assert "KEY" not in cli("-o", "json", "user", "sre-credential", "other", "--to", str(tmp_path / "o")).out
