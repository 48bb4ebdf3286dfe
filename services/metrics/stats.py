"""How instances and nodes are right now, from their two newest messages, with the processor time of the last hour.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from lattice.contracts.messages import InstanceStats, MetricOwner, NodeStats, ReadStats
from lattice.contracts.messages.metric_queries import Points
from lattice.metrics.declared import node, workload
from lattice.metrics.spec import MetricSpec
from services.metrics.minutes import rate
from services.metrics.newest import Pair, Said, rows_of
from services.metrics.rings import Rings, Series, points

_HOUR_MINUTES, _STEP_MINUTES = 60, 2

Row = dict[str, float]


def instance_stats(pair: Pair, rings: Rings, request: ReadStats) -> Iterator[InstanceStats]:
    """Those of one node's instances that are asked for."""
    said = pair.newest
    wanted = [each for each, owner in said.owners.items() if _is_wanted(owner, request)]
    if not wanted:
        return
    now, before = rows_of(said.readings()), _rows_before(pair)
    for instance in wanted:
        owner, row = said.owners[instance], now.get(instance, {})
        rates = _Rates(pair, row, before.get(instance, {}))
        series = _series_of(workload.CPU_SECONDS, said, owner, instance)
        yield InstanceStats(
            **_common(said),
            project=owner.project,
            workload=owner.workload,
            workload_id=owner.workload_id,
            instance=instance,
            up=bool(row.get(workload.UP.name)),
            ready=bool(row.get(workload.READY.name)),
            restarts=int(row.get(workload.RESTARTS.name, 0)),
            processes=_whole(row.get(workload.PROCESSES.name)),
            cpu_cores=rates.of(workload.CPU_SECONDS),
            cpu_limit_cores=row.get(workload.CPU_LIMIT.name),
            memory_bytes=row.get(workload.MEMORY.name),
            memory_limit_bytes=row.get(workload.MEMORY_LIMIT.name),
            received_bytes_per_s=rates.of(workload.NETWORK_RECEIVED),
            sent_bytes_per_s=rates.of(workload.NETWORK_SENT),
            read_bytes_per_s=rates.of(workload.BLOCK_READ),
            written_bytes_per_s=rates.of(workload.BLOCK_WRITTEN),
            cpu_last_hour=last_hour(rings, series, said.heard_at),
        )


def node_stats(pair: Pair, rings: Rings) -> NodeStats:
    """One node."""
    said = pair.newest
    row = rows_of(said.readings()).get("", {})
    rates = _Rates(pair, row, _rows_before(pair).get("", {}))
    series = Series(node.CPU_SECONDS.name, said.kind, said.id, said.name)
    return NodeStats(
        **_common(said),
        cpu_cores=rates.of(node.CPU_SECONDS),
        cpu_limit_cores=row.get(node.CPUS.name),
        memory_bytes=row.get(node.MEMORY_USED.name),
        memory_limit_bytes=row.get(node.MEMORY_SIZE.name),
        received_bytes_per_s=rates.of(node.NETWORK_RECEIVED),
        sent_bytes_per_s=rates.of(node.NETWORK_SENT),
        read_bytes_per_s=rates.of(node.DISK_READ),
        written_bytes_per_s=rates.of(node.DISK_WRITTEN),
        cpu_last_hour=last_hour(rings, series, said.heard_at),
        load1=row.get(node.LOAD1.name),
        disk_bytes=row.get(node.DISK_USED.name),
        disk_size_bytes=row.get(node.DISK_SIZE.name),
        engine_up=bool(row.get(node.ENGINE_UP.name, 1)),
    )


def node_cpu_cores(pair: Pair) -> float | None:
    """Processors that are busy, on average between its two newest messages."""
    row = rows_of(pair.newest.readings()).get("", {})
    return _Rates(pair, row, _rows_before(pair).get("", {})).of(node.CPU_SECONDS)


def last_hour(rings: Rings, series: Series, until: datetime) -> Points:
    """Its processor time up to then; empty where nothing is known of it."""
    ring = rings.get(series)
    if ring is None:
        return ()
    first = int(until.timestamp()) // 60 - _HOUR_MINUTES + 1
    return points(ring, first, _HOUR_MINUTES // _STEP_MINUTES, _STEP_MINUTES)


class _Rates:
    """How fast counters rose between two messages."""

    def __init__(self, pair: Pair, now: Row, before: Row) -> None:
        self._pair, self._now, self._before = pair, now, before

    def of(self, spec: MetricSpec) -> float | None:
        value, earlier = self._now.get(spec.name), self._before.get(spec.name)
        if value is None or earlier is None or self._pair.before is None:
            return None
        return rate((self._pair.before.taken_at, earlier), (self._pair.newest.taken_at, value))


def _is_wanted(owner: MetricOwner, request: ReadStats) -> bool:
    of_project = request.project in (None, owner.project)
    return of_project and (not request.workload_ids or owner.workload_id in request.workload_ids)


def _rows_before(pair: Pair) -> dict[str, Row]:
    return rows_of(pair.before.readings()) if pair.before is not None else {}


def _series_of(spec: MetricSpec, said: Said, owner: MetricOwner, instance: str) -> Series:
    return Series(
        spec.name,
        said.kind,
        said.id,
        said.name,
        project=owner.project,
        workload=owner.workload,
        workload_id=owner.workload_id,
        instance=instance,
    )


def _common(said: Said) -> dict[str, Any]:
    return {"node": said.name, "node_id": said.id, "taken_at": said.heard_at}


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
