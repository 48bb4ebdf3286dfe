"""Logs as Grafana reads them: the part of Loki's HTTP API that its data source, Explore and Logs Drilldown use.

The project is that of `?project=`, or the tenant of Loki's own header `X-Scope-OrgID`; `*` is all of them, for who may read all.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

import lattice
from lattice.contracts.messages import LineFormat, ListedLog, QueryLogs
from lattice.errors import Invalid
from services.gateway import logql, loki_answers, loki_reading
from services.gateway.call import Call, CurrentCall
from services.gateway.log_lines import time_ns_of
from services.gateway.logql import Constant, Counting, LogSearch
from services.gateway.logql_words import LONGEST
from services.gateway.loki_guard import LokiRoute
from services.gateway.loki_query import as_query
from services.gateway.loki_times import span_ns, time_ns
from services.gateway.loki_windows import windows

router = APIRouter(route_class=LokiRoute, tags=["loki"], include_in_schema=False)

BASE = "/v1/loki/api/v1"
_HOUR_NS = 3600 * 10**9
_FEWEST_STEPS, _SHORTEST_STEP_NS = 250, 10**9
_SAMPLE_LINES = 500

Text = Annotated[str | None, Query(max_length=LONGEST)]
Limit = Annotated[int, Query(ge=0, le=10_000)]
Direction = Literal["forward", "backward", "FORWARD", "BACKWARD"]
Span = tuple[int, int]


async def span(call: CurrentCall, *, start: Text = None, end: Text = None, since: Text = None) -> Span:
    """From when to when, in nanoseconds; without anything else the hour before now."""
    now_ns = time_ns_of(call.gateway.clock.now())
    end_ns = time_ns(end, "end") if end else now_ns
    before_ns = span_ns(since, "since") if since else _HOUR_NS
    return (time_ns(start, "start") if start else min(end_ns, now_ns) - before_ns), end_ns


Within = Annotated[Span, Depends(span)]


@router.get(f"{BASE}/query_range")
async def query_range(
    call: CurrentCall,
    within: Within,
    query: Text = None,
    limit: Limit = 100,
    direction: Direction = "backward",
    step: Text = None,
) -> Response:
    """Lines, or numbers over time."""
    asked = logql.parse(_given(query, "query"))
    if isinstance(asked, LogSearch):
        return await _lines(call, asked, within, limit=limit, forward=direction.lower() == "forward")
    step_ns = span_ns(step, "step") if step else _usual_step_ns(within)
    if isinstance(asked, Constant):
        over = windows(*within, step_ns=step_ns, window_ns=step_ns)
        times = [over.start_ns + n * step_ns for n in range(over.steps)]
        return _json(loki_answers.matrix(loki_answers.constant(asked.value, times)))
    over = windows(*within, step_ns=step_ns, window_ns=asked.window_ns)
    return _json(loki_answers.matrix(await loki_reading.counted(call, asked, over)))


@router.get(f"{BASE}/query")
async def query(
    call: CurrentCall,
    query: Text = None,
    limit: Limit = 100,
    time: Text = None,
    direction: Direction = "backward",
) -> Response:
    """Numbers at one time, or the lines of the hour before it."""
    asked = logql.parse(_given(query, "query"))
    at_ns = time_ns(time, "time") if time else time_ns_of(call.gateway.clock.now())
    if isinstance(asked, Constant):
        return _json(loki_answers.vector(loki_answers.constant(asked.value, [at_ns])))
    if isinstance(asked, Counting):
        over = windows(at_ns, at_ns, step_ns=asked.window_ns, window_ns=asked.window_ns)
        return _json(loki_answers.vector(await loki_reading.counted(call, asked, over)))
    within = (at_ns - _HOUR_NS, at_ns)
    return await _lines(call, asked, within, limit=limit, forward=direction.lower() == "forward")


@router.get(f"{BASE}/labels")
async def labels(call: CurrentCall, within: Within, query: Text = None) -> Response:
    """The names of labels."""
    logs = await _listed(call, query, within)
    return _json(loki_answers.succeeded(list(loki_answers.LABELS) if logs else []))


@router.get(f"{BASE}/label/{{name}}/values")
async def label_values(
    call: CurrentCall, within: Within, name: Annotated[str, Path(max_length=256)], query: Text = None
) -> Response:
    """The values of one label."""
    return _json(loki_answers.succeeded(loki_answers.values_of(name, await _listed(call, query, within))))


@router.get(f"{BASE}/series")
async def series(
    call: CurrentCall,
    within: Within,
    match: Annotated[list[str] | None, Query(alias="match[]", max_length=20)] = None,
    match_plain: Annotated[list[str] | None, Query(alias="match", max_length=20)] = None,
) -> Response:
    """The instances that wrote something."""
    found = [
        loki_answers.place_labels(log)
        for text in [*(match or ()), *(match_plain or ())] or ["{}"]
        for log in await _listed(call, text, within)
    ]
    return _json(loki_answers.succeeded(list({tuple(each.items()): each for each in found}.values())))


@router.get(f"{BASE}/index/stats")
async def index_stats(call: CurrentCall, within: Within, query: Text = None) -> Response:
    """How much there is to search."""
    return _json(loki_answers.stats(await _listed(call, query, within)))


@router.get(f"{BASE}/index/volume")
async def index_volume(
    call: CurrentCall,
    within: Within,
    query: Text = None,
    limit: Limit = 100,
    target_labels: Annotated[str | None, Query(alias="targetLabels", max_length=1024)] = None,
) -> Response:
    """Who writes how much."""
    names = target_labels.split(",") if target_labels else ["workload"]
    logs = await _listed(call, query, within)
    return _json(loki_answers.vector(loki_answers.volumes(logs, names, at_ns=within[1], most=limit)))


@router.get(f"{BASE}/detected_labels")
async def detected_labels(call: CurrentCall, within: Within, query: Text = None) -> Response:
    """Labels to choose from."""
    return _json(loki_answers.detected_labels(await _listed(call, query, within)))


@router.get(f"{BASE}/detected_fields")
async def detected_fields(call: CurrentCall, within: Within, query: Text = None) -> Response:
    """The fields in the text of the newest lines."""
    search = logql.parse_search(query or "{}")
    search.formats = search.formats or [LineFormat.JSON, LineFormat.LOGFMT]
    lines = await loki_reading.newest(call, _query(call, search, within, limit=_SAMPLE_LINES))
    return _json(loki_answers.detected_fields(lines, search))


@router.get(f"{BASE}/patterns")
async def patterns() -> Response:
    """There are none: nobody looks for patterns in lines."""
    return _json(loki_answers.succeeded([]))


@router.get(f"{BASE}/format_query")
async def format_query(query: Text = None) -> Response:
    """The query, if it is one."""
    text = _given(query, "query")
    logql.parse(text)
    return _json(loki_answers.succeeded(text.strip()))


@router.get(f"{BASE}/status/buildinfo")
async def build_info() -> dict[str, str]:
    """Which program answers."""
    return {"version": lattice.__version__, "revision": "lattice", "branch": "", "goVersion": ""}


def _usual_step_ns(within: Span) -> int:
    return max((within[1] - within[0]) // _FEWEST_STEPS, _SHORTEST_STEP_NS)


async def _lines(call: Call, search: LogSearch, within: Span, *, limit: int, forward: bool) -> Response:
    read = loki_reading.oldest if forward else loki_reading.newest
    lines = await read(call, _query(call, search, within, limit=max(limit, 1)))
    return _json(loki_answers.streams(lines[:limit], search))


def _query(call: Call, search: LogSearch, within: Span, *, limit: int) -> QueryLogs:
    """The end is not a part of the time."""
    since_ns, until_ns = within[0], within[1] - 1
    return as_query(search, call.project_or_all, since_ns=since_ns, until_ns=until_ns, limit=limit)


async def _listed(call: Call, query: str | None, within: Span) -> tuple[ListedLog, ...]:
    search = logql.parse_search(query or "{}")
    return await loki_reading.listed(call, _query(call, search, within, limit=1))


def _given(text: str | None, name: str) -> str:
    if not text:
        raise Invalid(f"{name} is missing.")
    return text


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
