"""Answers what the gateway asks: who is heard, what was said last, series of the last day, and how things are now."""

from __future__ import annotations

from itertools import islice

from lattice.contracts.messages import (
    Empty,
    MetricHistory,
    MetricSeries,
    MetricSources,
    QueryMetrics,
    ReadMetrics,
    ReadStats,
    SourceMetrics,
    Stats,
)
from lattice.contracts.messages.metric_queries import MOST_POINTS, MOST_SERIES
from lattice.errors import Invalid, NotFound
from lattice.metrics.declared import SPECS
from lattice.metrics.spec import History as Kept
from lattice.metrics.spec import MetricSpec, Scope
from services.metrics.history import History
from services.metrics.newest import Newest
from services.metrics.rings import Ring, Series, points
from services.metrics.stats import instance_stats, node_stats

# An answer is one message of at most 1 MiB, and a point takes some 10 bytes of it.
_MOST_CELLS = 60_000


class Querying:
    """The answers of one process."""

    def __init__(self, newest: Newest, history: History) -> None:
        self._newest, self._history = newest, history

    async def list_sources(self, request: Empty) -> MetricSources:
        """Who was heard within a day."""
        return MetricSources(sources=tuple(pair.newest.source for pair in self._newest.all()))

    async def read(self, request: ReadMetrics) -> SourceMetrics:
        """What a source said last."""
        pair = self._newest.get(request.kind, request.id)
        if pair is None:
            raise NotFound(f"Nothing was heard of the {request.kind} {request.id}.")
        said = pair.newest
        return SourceMetrics(source=said.source, tables=said.tables, owners=dict(said.owners))

    async def query(self, request: QueryMetrics) -> MetricHistory:
        """Series of the last day."""
        step_minutes = request.step_s // 60
        first = request.from_s // 60 // step_minutes * step_minutes
        steps = -(-(request.until_s // 60 - first) // step_minutes)
        if not 0 < steps <= MOST_POINTS:
            raise Invalid(
                f"That would be {max(0, steps)} points: between 1 and {MOST_POINTS} are answered, so ask for another time or step."
            )
        most = max(1, min(MOST_SERIES, _MOST_CELLS // steps))
        found = list(
            islice(self._history.rings.matching(lambda series: is_wanted(series, request)), most + 1)
        )
        series = tuple(_series(each, ring, first, steps, step_minutes) for each, ring in found[:most])
        return MetricHistory(
            start_s=first * 60, step_s=step_minutes * 60, series=series, more=len(found) > most
        )

    async def stats(self, request: ReadStats) -> Stats:
        """How instances or nodes are now."""
        pairs, rings = self._newest.all("node"), self._history.rings
        if request.about == "node":
            nodes = [node_stats(pair, rings) for pair in pairs]
            return Stats(nodes=tuple(nodes[: request.limit]), more=len(nodes) > request.limit)
        instances = sorted(
            (each for pair in pairs for each in instance_stats(pair, rings, request)),
            key=lambda each: (each.project, each.workload, each.instance),
        )
        return Stats(instances=tuple(instances[: request.limit]), more=len(instances) > request.limit)


def is_wanted(series: Series, request: QueryMetrics) -> bool:
    """Whether a series is asked for."""
    return (
        (not request.metrics or series.metric in request.metrics)
        and request.project in (None, series.project)
        and (not request.workload_ids or series.workload_id in request.workload_ids)
        and (not request.node_ids or (series.kind == "node" and series.source_id in request.node_ids))
        and request.about in (None, about(series))
    )


def about(series: Series) -> str:
    """What a series speaks of."""
    if series.kind == "service":
        return "service"
    spec = SPECS.get(series.metric)
    return "workload" if spec is not None and spec.scope is Scope.WORKLOAD else "node"


def unit_of(spec: MetricSpec) -> str:
    """The unit of a series' points: seconds of processor time per second are cores."""
    if spec.history is not Kept.RATE:
        return spec.unit
    return "cores" if spec.unit == "seconds" else f"{spec.unit or 'count'}/s"


def _series(series: Series, ring: Ring, first: int, steps: int, step_minutes: int) -> MetricSeries:
    is_node, spec = series.kind == "node", SPECS.get(series.metric)
    return MetricSeries(
        metric=series.metric,
        unit=unit_of(spec) if spec is not None else "",
        node=series.source_name if is_node else "",
        node_id=series.source_id if is_node else "",
        service="" if is_node else series.source_id,
        project=series.project,
        workload=series.workload,
        workload_id=series.workload_id,
        instance=series.instance,
        points=points(ring, first, steps, step_minutes),
    )
