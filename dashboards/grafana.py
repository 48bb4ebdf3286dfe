"""Dashboards as Grafana's JSON: the one place where grafanalib is used.

grafanalib speaks to a Grafana of some years ago.  What it says by default and a present one takes amiss is set here: the version of the
schema (else 30 migrations run at each load), data sources by uid on every target, thresholds as lists, no nulls, no leftovers of dead panels.
Classic JSON, not the schema v2 of Grafana 13, since files can be provisioned with it by all that are in use.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from grafanalib import core as gl
from grafanalib._gen import DashboardEncoder

from dashboards.board import Board, Look, Panel, Query, Row, Variable
from dashboards.layout import Place, placed
from dashboards.recording_rules import PAGES

Json = dict[str, Any]

SCHEMA_VERSION = 39
TAG = "lattice"
PROMETHEUS: Mapping[str, str] = {"type": "prometheus", "uid": "${datasource}"}
LOGS: Mapping[str, str] = {"type": "loki", "uid": "lattice-logs"}
_PANELS = {
    Look.SERIES: gl.TimeSeries,
    Look.NUMBER: gl.Stat,
    Look.TABLE: gl.Table,
    Look.TIMELINE: gl.StateTimeline,
    Look.LOG: gl.Logs,
}
_INSTANT = (Look.NUMBER, Look.TABLE)
_LEFTOVERS = ("__inputs", "gnetId", "hideControls", "rows", "sharedCrosshair")
# Of a target grafanalib writes more: of other data sources, and a step and an `intervalFactor` that make lines coarse.
_OF_TARGETS = ("expr", "legendFormat", "refId", "instant", "hide", "datasource")


def as_json(board: Board) -> str:
    """The file."""
    return json.dumps(dashboard(board), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def dashboard(board: Board) -> Json:
    """The dashboard as plain data."""
    made = gl.Dashboard(
        title=f"Lattice / {board.title}",
        uid=board.uid,
        description=board.description,
        tags=[TAG],
        editable=False,
        refresh="30s",
        time=gl.Time("now-1h", "now"),
        timezone="browser",
        schemaVersion=SCHEMA_VERSION,
        templating=gl.Templating(
            list=[_source(), *map(_choice, board.variables), _page("console"), _page("docs")]
        ),
        links=_links(),
        panels=[],
    ).to_json_data()
    plain = json.loads(json.dumps(made, cls=DashboardEncoder))
    kept = {key: value for key, value in plain.items() if key not in _LEFTOVERS}
    whole: Json = _without_nulls({**kept, "graphTooltip": 1, "panels": list(_panels(board))})
    return whole


def _without_nulls(value: Any) -> Any:
    """Grafana's own reader refuses a null where it expects a record."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


# --- head --------------------------------------------------------------------------------------------------


def _source() -> Json:
    """Which Prometheus; all panels ask the one that is chosen here."""
    return {
        **_variable(
            gl.Template(name="datasource", label="Prometheus", query="prometheus", type="datasource")
        ),
        "current": {},
    }


def _choice(variable: Variable) -> Json:
    made = gl.Template(
        name=variable.name,
        label=variable.label,
        query=variable.query,
        dataSource=dict(PROMETHEUS),
        includeAll=True,
        allValue=".*",
        multi=True,
        refresh=2,  # with the time range: what is gone is not offered
    )
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return {**_variable(made), "definition": variable.query, "current": everything}


def _page(name: str) -> Json:
    """Where a page of this platform is, for links."""
    query = f"label_values({PAGES}, {name})"
    made = gl.Template(name=name, query=query, dataSource=dict(PROMETHEUS), hide=gl.HIDE_VARIABLE)
    return {**_variable(made), "definition": query, "current": {}}


def _variable(template: gl.Template) -> Json:
    leftovers = ("auto", "auto_min", "auto_count", "useTags", "tagsQuery", "tagValuesQuery")
    return {key: value for key, value in template.to_json_data().items() if key not in leftovers}


def _links() -> list[gl.DashboardLink]:
    return [
        gl.DashboardLink(title="Lattice", tags=[TAG], asDropdown=True, includeVars=True, keepTime=True),
        gl.DashboardLink(
            title="Console", type="link", uri="${console}", icon="external link", targetBlank=True
        ),
        gl.DashboardLink(
            title="Runbooks", type="link", uri="${docs}/runbooks/README.md", icon="doc", targetBlank=True
        ),
    ]


# --- panels ------------------------------------------------------------------------------------------------


def _panels(board: Board) -> Iterator[Json]:
    for number, (each, place) in enumerate(placed(board.rows), start=1):
        yield {
            **(_headline(each) if isinstance(each, Row) else _panel(each)),
            "id": number,
            "gridPos": _grid(place),
        }


def _grid(place: Place) -> Json:
    return {"x": place.x, "y": place.y, "w": place.width, "h": place.height}


def _headline(row: Row) -> Json:
    return {"type": "row", "title": row.title, "collapsed": False, "panels": []}


def _panel(panel: Panel) -> Json:
    source = dict(LOGS if panel.look is Look.LOG else PROMETHEUS)
    made = _PANELS[panel.look](
        title=panel.title,
        description=panel.description,
        dataSource=source,
        targets=[
            _target(query, chr(ord("A") + at), panel.look, source) for at, query in enumerate(panel.queries)
        ],
    ).to_json_data()
    return {
        "type": made["type"],
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "targets": json.loads(json.dumps(made["targets"], cls=DashboardEncoder)),
        "fieldConfig": {"defaults": _field(panel), "overrides": list(_overrides(panel))},
        "options": _OPTIONS[panel.look],
        "transformations": _transformations(panel),
    }


def _target(query: Query, ref: str, look: Look, source: Json) -> Json:
    made = gl.Target(
        expr=query.expr, legendFormat=query.legend, refId=ref, datasource=source, instant=look in _INSTANT
    ).to_json_data()
    kept = {key: made[key] for key in _OF_TARGETS}
    if look is Look.LOG:
        return {**kept, "queryType": "range"}
    shown_as = {"format": "table" if look is Look.TABLE else "time_series"}
    return {**kept, **shown_as, "range": look not in _INSTANT, "editorMode": "code"}


def _field(panel: Panel) -> Json:
    steps = [
        {"color": panel.colour, "value": None},
        *({"color": t.colour, "value": t.at} for t in panel.thresholds),
    ]
    return {
        "unit": panel.unit.value,
        "noValue": "-",
        "color": {"mode": "palette-classic" if panel.look is Look.SERIES else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": [_without_nulls(step) for step in steps]},
        "mappings": _mappings(panel),
        "links": [{"title": panel.title, "url": panel.link, "targetBlank": False}] if panel.link else [],
        "custom": _custom(panel),
    }


def _mappings(panel: Panel) -> list[Json]:
    words = {value: {"text": text, "index": at} for at, (value, text) in enumerate(panel.words)}
    return [{"type": "value", "options": words}] if words else []


def _custom(panel: Panel) -> Json:
    if panel.look is Look.SERIES:
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        return {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": stacking,
        }
    if panel.look is Look.TABLE:
        return {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True}
    return {"fillOpacity": 70, "lineWidth": 0} if panel.look is Look.TIMELINE else {}


def _overrides(panel: Panel) -> Iterator[Json]:
    """A table's columns are called as its queries are."""
    if panel.look is not Look.TABLE:
        return
    for at, query in enumerate(panel.queries):
        name = f"Value #{chr(ord('A') + at)}" if len(panel.queries) > 1 else "Value"
        named = [{"id": "displayName", "value": query.legend}]
        yield {"matcher": {"id": "byName", "options": name}, "properties": named}


def _transformations(panel: Panel) -> list[Json]:
    if panel.look is not Look.TABLE:
        return []
    hidden = {"Time": True, "__name__": True, "job": True}
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": hidden, "indexByName": {}, "renameByName": {}}},
    ]


_LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
_NEWEST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: Mapping[Look, Json] = {
    Look.SERIES: {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    Look.NUMBER: {
        "reduceOptions": _NEWEST,
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "wideLayout": True,
    },
    Look.TABLE: {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"]}},
    Look.TIMELINE: {
        "mergeValues": True,
        "showValue": "never",
        "alignValue": "left",
        "rowHeight": 0.9,
        "legend": _LEGEND,
        "tooltip": {"mode": "single", "sort": "none"},
    },
    Look.LOG: {
        "showTime": True,
        "showLabels": False,
        "showCommonLabels": False,
        "wrapLogMessage": True,
        "prettifyLogMessage": False,
        "enableLogDetails": True,
        "dedupStrategy": "none",
        "sortOrder": "Descending",
    },
}
