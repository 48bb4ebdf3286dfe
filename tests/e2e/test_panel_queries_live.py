"""What panels ask for, a Prometheus that looks at a running platform answers, with the example configuration and the rules beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.fixtures.panel_queries import RULES, panel_queries, without_answer
from tests.fixtures.platform import NewName, Platform
from tests.fixtures.prometheus_server import Prometheus, running
from tests.house_rules import ROOT

EXAMPLE = ROOT / "infra" / "prometheus" / "prometheus.yaml"


@pytest.fixture
def prometheus(platform: Platform, tmp_path: Path) -> Iterator[Prometheus]:
    """One with the job of the example, that looks each second."""
    name = f"panels-{tmp_path.name}"
    token = platform.ok("token", "create", name, "--role", "viewer", "-o", "name").strip()
    (tmp_path / "lattice-token").write_text(token)
    (tmp_path / "lattice-ca.pem").write_text(platform.ok("ca"))
    (job,) = yaml.safe_load(EXAMPLE.read_text())["scrape_configs"]
    (discovery,) = job["http_sd_configs"]
    discovery["url"] = f"{platform.json('status')['url']}/v1/prometheus/targets"
    job["scrape_interval"] = job["scrape_timeout"] = discovery["refresh_interval"] = "1s"
    with running(tmp_path, job, RULES) as server:
        yield server


def test_every_query_of_every_panel_finds_something_on_a_running_platform(
    platform: Platform, prometheus: Prometheus, new_name: NewName
) -> None:
    small = ("--cpu", "0.1", "--memory", "32Mi")
    platform.ok("run", "lattice.local/test:1", "--name", new_name("seen"), *small, "--", "sleep", "86400")
    assert without_answer(prometheus, panel_queries(with_zeros=True), timeout_s=60) == {}
    assert [rule["name"] for rule in prometheus.rules() if rule["health"] != "ok"] == []
