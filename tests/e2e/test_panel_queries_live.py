"""What panels ask for, a Prometheus that looks at a running platform answers, with the example configuration and the rules beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.panel_queries import RULES, panel_queries, without_answer
from tests.fixtures.platform import NewName, Platform
from tests.fixtures.prometheus import Prometheus, configured, job_of, running_prometheus


@pytest.fixture
def prometheus(platform: Platform, tmp_path: Path) -> Iterator[Prometheus]:
    """One with the job of the example, that looks each second."""
    configuration = configured(tmp_path, job_of(platform, tmp_path), rules=RULES)
    with running_prometheus(tmp_path, configuration) as server:
        yield server


def test_every_query_of_every_panel_finds_something_on_a_running_platform(
    platform: Platform, prometheus: Prometheus, new_name: NewName
) -> None:
    small = ("--cpu", "0.1", "--memory", "32Mi")
    platform.ok("run", "lattice.local/test:1", "--name", new_name("seen"), *small, "--", "sleep", "86400")
    assert without_answer(prometheus, panel_queries(with_zeros=True), timeout_s=60) == {}
    assert [rule["name"] for rule in prometheus.rules() if rule["health"] != "ok"] == []
