"""What everything measures: as it is now, as series of the last day, and as Prometheus asks for it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from lattice.contracts import catalogue
from lattice.contracts.messages import (
    Empty,
    GetByName,
    MetricHistory,
    QueryMetrics,
    ReadMetrics,
    ReadStats,
    Stats,
)
from lattice.contracts.messages.metric_queries import SourceKind
from lattice.metrics.exposition import CONTENT_TYPE
from services.gateway import prometheus
from services.gateway.answers import JSON, answer
from services.gateway.call import Call, CurrentCall, GuardedRoute
from services.gateway.names import Ref
from services.gateway.prometheus import TargetGroup
from services.gateway.routes.logs import Moment, Name, moment_ns
from services.gateway.routes.workloads import load

router = APIRouter(route_class=GuardedRoute, tags=["metrics"])

_NS, _HOUR_S = 10**9, 3600
# Enough for a chart that is as wide as a screen.
_POINTS = 240
_GROUPS = TypeAdapter(list[TargetGroup])
_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}

From = Annotated[Moment, Query(alias="from")]
Step = Annotated[
    int | None, Query(ge=60, le=86_400, description="seconds; whole minutes. By itself: about 240 points")
]
Metrics = Annotated[
    list[Name] | None, Query(max_length=64, alias="metric", description="names, of docs/metrics.md; else all")
]
Limit = Annotated[int, Query(ge=1, le=1_000)]


@router.get("/v1/workloads/{id}/metrics", response_model=MetricHistory)
async def workload_metrics(
    call: CurrentCall,
    ref: Ref,
    metric: Metrics = None,
    begin: From = None,
    until: Moment = None,
    step: Step = None,
) -> Response:
    """Series of a workload's instances, of the last hour if nothing else is said and at most of the last day."""
    workload = await load(call, ref)
    query = _query(call, metric, begin, until, step).model_copy(
        update={"about": "workload", "workload_ids": (workload.id,), "project": workload.project}
    )
    return answer(await call.ask(catalogue.QUERY_METRICS, query))


@router.get("/v1/nodes/{id}/metrics", response_model=MetricHistory)
async def node_metrics(
    call: CurrentCall,
    ref: Ref,
    metric: Metrics = None,
    begin: From = None,
    until: Moment = None,
    step: Step = None,
) -> Response:
    """The same of a node's machine and its agent."""
    node = await call.ask(catalogue.GET_NODE, GetByName(ref=ref))
    query = _query(call, metric, begin, until, step).model_copy(
        update={"about": "node", "node_ids": (node.id,)}
    )
    return answer(await call.ask(catalogue.QUERY_METRICS, query))


@router.get("/v1/stats", response_model=Stats)
async def stats(
    call: CurrentCall,
    workload: Annotated[list[Name] | None, Query(max_length=64, description="by id")] = None,
    limit: Limit = 500,
) -> Response:
    """What instances take right now, and their processor time of the last hour."""
    request = ReadStats(
        about="workload", project=call.project_or_all, workload_ids=tuple(workload or ()), limit=limit
    )
    return answer(await call.ask(catalogue.READ_STATS, request))


@router.get("/v1/stats/nodes", response_model=Stats)
async def node_stats(call: CurrentCall, limit: Limit = 500) -> Response:
    """The same of nodes."""
    return answer(await call.ask(catalogue.READ_STATS, ReadStats(about="node", limit=limit)))


@router.get("/v1/prometheus/targets", response_model=list[TargetGroup])
async def targets(call: CurrentCall, request: Request) -> Response:
    """Where Prometheus finds every node and every service of the platform, for its HTTP service discovery."""
    return await _groups(call, request)


@router.get("/v1/prometheus/nodes", response_model=list[TargetGroup])
async def node_targets(call: CurrentCall, request: Request) -> Response:
    """The same of nodes alone."""
    return await _groups(call, request, kind="node")


@router.get("/v1/prometheus/nodes/{id}", response_class=Response, responses={200: _TEXT})
async def node_text(call: CurrentCall, ref: Ref) -> Response:
    """What a node and its instances measured last, in Prometheus's text format; 503 where that is older than a minute."""
    return await _text(call, "node", ref)


@router.get("/v1/prometheus/services/{id}", response_class=Response, responses={200: _TEXT})
async def service_text(call: CurrentCall, ref: Ref) -> Response:
    """The same of a service of the platform."""
    return await _text(call, "service", ref)


async def _groups(call: Call, request: Request, *, kind: SourceKind | None = None) -> Response:
    found = await call.ask(catalogue.LIST_METRIC_SOURCES, Empty())
    wanted = (source for source in found.sources if kind in (None, source.kind))
    groups = prometheus.target_groups(wanted, scheme=request.url.scheme, address=request.url.netloc)
    return Response(_GROUPS.dump_json(groups), media_type=JSON)


async def _text(call: Call, kind: SourceKind, ref: str) -> Response:
    found = await call.ask(catalogue.READ_METRICS, ReadMetrics(kind=kind, id=ref))
    return Response(prometheus.text(found, call.gateway.clock.now()), media_type=CONTENT_TYPE)


def _query(
    call: Call, metric: list[str] | None, begin: str | None, until: str | None, step: int | None
) -> QueryMetrics:
    now = call.gateway.clock.now()
    until_s = _seconds(until, now, "until") or int(now.timestamp())
    from_s = _seconds(begin, now, "from") or until_s - _HOUR_S
    return QueryMetrics(
        metrics=tuple(metric or ()),
        from_s=from_s,
        until_s=until_s,
        step_s=step or default_step_s(until_s - from_s),
    )


def default_step_s(span_s: int) -> int:
    """Whole minutes, so that there are about as many points as a chart has room for."""
    return min(86_400, max(1, -(-span_s // (_POINTS * 60))) * 60)


def _seconds(text: str | None, now: datetime, name: str) -> int | None:
    moment = moment_ns(text, now, name)
    return None if moment is None else moment // _NS
