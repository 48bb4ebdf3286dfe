"""What panels ask for, a real Prometheus answers; and the rules do there what they should."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.panel_queries import RULES, panel_queries, without_answer
from tests.fixtures.prometheus import Prometheus, configured, running_prometheus
from tests.fixtures.shown_metrics import shown_on_a_port


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that looks at everything that is declared."""
    with shown_on_a_port() as port:
        folder = tmp_path_factory.mktemp("prometheus")
        job = {
            "job_name": "lattice",
            "honor_labels": True,
            "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
        }
        with running_prometheus(folder, configured(folder, job, every="250ms", rules=RULES)) as server:
            yield server


def test_every_query_of_every_panel_finds_something(prometheus: Prometheus) -> None:
    queries = panel_queries(with_zeros=False)
    assert len(queries) > 100
    assert without_answer(prometheus, queries, timeout_s=15) == {}


def test_a_query_that_finds_nothing_is_noticed(prometheus: Prometheus) -> None:
    wrong = {"a panel": 'sum(rate(lattice_node_cpu_seconds_total{node="nowhere"}[1m]))'}
    assert without_answer(prometheus, wrong, timeout_s=0) == wrong


def test_every_rule_can_be_evaluated(prometheus: Prometheus) -> None:
    without_answer(prometheus, {"the last rule": "slo:lattice_wrong:rate5m"}, timeout_s=15)
    assert [rule["name"] for rule in prometheus.rules() if rule["health"] != "ok"] == []
