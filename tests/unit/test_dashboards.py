"""Dashboards ask for what is declared, are what a present Grafana wants, and lead where something is."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.models import dashboard as sdk

from dashboards.alert_rules import RULES
from dashboards.board import COLUMNS, Board, Look, Panel, Row, Unit, number
from dashboards.boards import BOARDS, NOT_SHOWN
from dashboards.grafana import SCHEMA_VERSION
from dashboards.layout import placed
from dashboards.promql import rate, select, total
from dashboards.recording_rules import OF_SLOS, PLAIN, RECORDED
from dashboards.slos import SLOS
from lattice.alerts import BY_NAME, dashboard_of
from lattice.contracts.messages import AlertSource
from lattice.metrics.declared import SPECS, gateway, node
from lattice.metrics.spec import Kind
from services.gateway.logql import parse
from tests.fixtures.expressions import aggregations, filled_in, selectors
from tests.house_rules import ROOT

Json = dict[str, Any]
every_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)

QUERIES = [
    query.expr
    for board in BOARDS
    for panel in board.panels
    if panel.look is not Look.LOG
    for query in panel.queries
]
RECORDINGS = [rule.expr for rule in (*PLAIN, *OF_SLOS)]
EXPRESSIONS = [*QUERIES, *RECORDINGS, *(rule.expr for rule in RULES)]
# Prometheus' own series: of its alerts, with the labels of all of them, and of what it asks.
_OF_PROMETHEUS = {"ALERTS": {"alertname", "alertstate", "severity"}, "up": {"job", "instance"}}
_LEVELS = {
    "node",
    "project",
    "workload",
    "service",
    "slo",
    "method",
    "path",
    "status",
    "docs",
    "grafana",
    "console",
}


def declared(name: str) -> str:
    """The metric that a series is of."""
    return re.sub(r"_(bucket|count|sum)$", "", name) if name not in SPECS else name


def labels_of(name: str) -> set[str]:
    if name in _OF_PROMETHEUS:
        return {*_OF_PROMETHEUS[name], *_LEVELS}
    if name in RECORDED:
        return _LEVELS
    return {*SPECS[declared(name)].all_labels, "le", "instance", "job"}


# --- what is asked for -------------------------------------------------------------------------------------


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_and_label_that_is_asked_for_is_declared(expression: str) -> None:
    known: set[str] = set()
    for selector in selectors(expression):
        name = selector.name or ""
        assert name in RECORDED or name in _OF_PROMETHEUS or declared(name) in SPECS, name
        assert {matcher.name for matcher in selector.matchers.matchers} <= labels_of(name)
        known |= labels_of(name)
    for aggregation in aggregations(expression):
        if aggregation.modifier is not None:
            assert set(aggregation.modifier.labels) <= known, str(aggregation)


def test_every_declared_metric_is_shown_or_has_a_reason_not_to_be() -> None:
    computed = {rule.record: rule.expr for rule in PLAIN}
    names = {selector.name or "" for query in QUERIES for selector in selectors(query)}
    behind = {
        selector.name or "" for name in names & computed.keys() for selector in selectors(computed[name])
    }
    shown = {declared(name) for name in names | behind}
    assert SPECS.keys() - shown - NOT_SHOWN.keys() == set()
    assert NOT_SHOWN.keys() <= SPECS.keys() - shown


def test_every_recorded_series_is_asked_for() -> None:
    asked = {
        selector.name for each in (*QUERIES, *(rule.expr for rule in RULES)) for selector in selectors(each)
    }
    assert {rule.record for rule in (*PLAIN, *OF_SLOS)} <= asked


def test_names_of_recorded_series_say_level_metric_and_operation() -> None:
    for name in RECORDED - {"lattice_pages_info"}:
        assert re.fullmatch(r"[a-z_]+:lattice_[a-z_]+:(sum|ratio|rate5m|ratio_rate(5m|30m|1h|6h))", name), (
            name
        )


def test_what_is_not_declared_so_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="is a gauge: it has no rate"):
        rate(node.CPUS)
    with pytest.raises(ValueError, match="a part is named of histograms"):
        select(gateway.REQUEST_SECONDS)
    with pytest.raises(ValueError, match="a part is named of histograms"):
        select(node.CPUS, part="count")
    assert total(rate(node.NETWORK_SENT), "node") == (
        "sum by (node) (rate(lattice_node_network_sent_bytes_total[$__rate_interval]))"
    )


@pytest.mark.parametrize("slo", SLOS, ids=lambda slo: slo.name)
def test_an_objective_is_held_against_a_bucket_or_a_label(slo: Any) -> None:
    assert slo.spec.kind is Kind.HISTOGRAM
    assert slo.within_s in slo.spec.buckets or slo.wrong_where
    assert slo.promise.startswith(f"{slo.objective * 100:g} %")


@pytest.mark.parametrize(
    "query", [q.expr for b in BOARDS for p in b.panels if p.look is Look.LOG for q in p.queries]
)
def test_the_platform_understands_what_is_asked_of_its_logs(query: str) -> None:
    parse(filled_in(query))


# --- what Grafana wants ------------------------------------------------------------------------------------


def built(board: Board) -> Json:
    """The dashboard as it is committed."""
    return dict(json.loads((ROOT / "dashboards" / "built" / f"{board.uid}.json").read_text()))


def values(tree: Any) -> Iterator[Any]:
    yield tree
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for child in children:
        yield from values(child)


def test_no_two_dashboards_share_a_uid() -> None:
    assert len({board.uid for board in BOARDS}) == len(BOARDS) == 8


@every_board
def test_a_dashboard_is_as_a_present_grafana_has_it(board: Board) -> None:
    made = built(board)
    assert (made["uid"], made["schemaVersion"], made["editable"]) == (board.uid, SCHEMA_VERSION, False)
    assert None not in list(values(made))
    ids = Counter(panel["id"] for panel in made["panels"])
    assert set(ids.values()) == {1}
    for panel in made["panels"]:
        assert panel["type"] == "row" or panel["datasource"]["uid"] in ("${datasource}", "lattice-logs")
        assert all(target["datasource"] == panel["datasource"] for target in panel.get("targets", ()))


@every_board
def test_every_panel_says_what_it_shows_and_in_which_unit(board: Board) -> None:
    titles = Counter((row.title, panel.title) for row in board.rows for panel in row.panels)
    assert set(titles.values()) == {1}
    for panel in board.panels:
        assert panel.title and panel.description.endswith(".") and panel.queries
    for panel in built(board)["panels"]:
        assert panel["type"] == "row" or (panel["description"] and panel["fieldConfig"]["defaults"]["unit"])


@every_board
def test_what_rises_is_seen_over_an_interval_that_fits_the_view(board: Board) -> None:
    for panel in board.panels:
        for query in panel.queries:
            windows = re.findall(r"(?:rate|increase)\([^\[]*\[([^\]]*)\]", query.expr)
            allowed = {"$__rate_interval"} if panel.look is not Look.NUMBER else {"$__rate_interval", "1h"}
            assert set(windows) <= allowed, query.expr


@every_board
def test_no_panel_lies_on_another_or_beside_the_grid(board: Board) -> None:
    places = [place for _, place in placed(board.rows)]
    assert all(place.x + place.width <= COLUMNS for place in places)
    for one, other in combinations(places, 2):
        beside = one.x + one.width <= other.x or other.x + other.width <= one.x
        below = one.y + one.height <= other.y or other.y + other.height <= one.y
        assert beside or below


def test_a_panel_that_does_not_fit_begins_a_new_line() -> None:
    wide = number("a", "b.", Unit.COUNT, "up", width=16)
    places = [
        place for _, place in placed([Row(title="one", panels=(wide, wide)), Row(title="two", panels=())])
    ]
    assert [(place.x, place.y) for place in places] == [(0, 0), (0, 1), (0, 5), (0, 9)]


@every_board
def test_every_variable_is_defined_and_used(board: Board) -> None:
    text = json.dumps({key: value for key, value in built(board).items() if key != "templating"})
    used = set(re.findall(r"\$\{?(\w+)\}?", text)) - {
        "__rate_interval",
        "__url_time_range",
        "__field",
        "__data",
    }
    names = {variable["name"] for variable in built(board)["templating"]["list"]}
    assert used <= names
    assert {variable.name for variable in board.variables} <= used


@every_board
def test_grafanas_own_kit_reads_it(board: Board) -> None:
    plugins.register_default_plugins()
    read = sdk.Dashboard.from_json(built(board))
    panels = [panel for panel in read.panels or () if isinstance(panel, sdk.Panel)]
    assert len(panels) == len(board.panels)
    for panel in panels:
        assert "models.dashboard" not in type(panel.options).__module__, "its options are not of a known kind"
        assert panel.targets and type(panel.targets[0]).__module__.endswith((".prometheus", ".loki"))


# --- where links lead --------------------------------------------------------------------------------------


def links(panel: Panel) -> Iterator[tuple[str, set[str]]]:
    for uid, query in re.findall(r"/d/([\w-]+)\??(\S*)", panel.link):
        yield uid, set(re.findall(r"var-(\w+)=", query))


def test_links_lead_to_a_dashboard_with_the_choices_that_they_make() -> None:
    choices = {board.uid: {variable.name for variable in board.variables} for board in BOARDS}
    found = [link for board in BOARDS for panel in board.panels for link in links(panel)]
    assert found
    for uid, chosen in found:
        assert chosen <= choices[uid]


def test_every_alert_leads_to_a_dashboard_that_can_show_it() -> None:
    choices = {board.uid: {variable.name for variable in board.variables} for board in BOARDS}
    needed: dict[AlertSource, set[str]] = {
        AlertSource.NODE: {"node"},
        AlertSource.WORKLOAD: {"project", "workload"},
    }
    for spec in BY_NAME.values():
        assert needed.get(spec.source, set()) <= choices[spec.seen_on], spec.name
    assert {dashboard_of(source) for source in AlertSource} <= choices.keys()


def test_provisioning_offers_the_data_sources_that_dashboards_ask() -> None:
    folder = ROOT / "infra" / "grafana" / "provisioning"
    offered = {
        source["uid"]: source["type"]
        for file in (folder / "datasources").glob("*.yaml")
        for source in yaml.safe_load(file.read_text())["datasources"]
    }
    assert offered == {"lattice-prometheus": "prometheus", "lattice-logs": "loki"}
    (provider,) = yaml.safe_load((folder / "dashboards" / "lattice.yaml").read_text())["providers"]
    assert provider["type"] == "file" and not provider["allowUiUpdates"]
