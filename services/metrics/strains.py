"""What is too much now: pure, from what nodes and services said last, held against fixed marks.

It says what is so in this moment; for how long it has to be so before somebody is told is the alerts service's to know (`lattice.alerts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from lattice.contracts.messages import PLATFORM, Trouble, TroubleKind
from lattice.metrics.declared import node
from services.metrics.errors import LoggedErrors
from services.metrics.newest import Pair, Said, rows_of
from services.metrics.stats import node_cpu_cores

# Who has been silent for longer says nothing about now; that it is silent is told by others.
FRESH = timedelta(seconds=60)
CPU_PART = 0.95
MEMORY_PART = 0.95
DISK_PART = 0.95
CLOCK_S = 2.0
ERRORS = 10


def strains(pairs: list[Pair], errors: LoggedErrors, now: datetime) -> Iterator[Trouble]:
    """Everything that is too much."""
    for pair in pairs:
        if now - pair.newest.heard_at > FRESH:
            continue
        if pair.newest.kind == "node":
            yield from of_node(pair)
        yield from _of_errors(pair.newest, errors.within(pair.newest, now))


def of_node(pair: Pair) -> Iterator[Trouble]:
    """What is too much of one node."""
    said, row = pair.newest, rows_of(pair.newest.readings()).get("", {})
    cpu = _part(node_cpu_cores(pair), row.get(node.CPUS.name))
    if cpu > CPU_PART:
        yield _strain(said, TroubleKind.NODE_CPU_HIGH, f"{cpu:.0%} of its processors are busy")
    memory = _part(row.get(node.MEMORY_USED.name), row.get(node.MEMORY_SIZE.name))
    if memory > MEMORY_PART:
        yield _strain(said, TroubleKind.NODE_MEMORY_LOW, f"{memory:.0%} of its memory is in use")
    disk = _disk(row)
    if disk > DISK_PART:
        yield _strain(said, TroubleKind.NODE_DISK_FULL, f"{disk:.0%} of its disk is in use")
    yield from _of_links(said, row)


def _of_links(said: Said, row: Mapping[str, float]) -> Iterator[Trouble]:
    offset_s = row.get(node.CLOCK_OFFSET.name, 0.0)
    if abs(offset_s) > CLOCK_S:
        way = "ahead of" if offset_s > 0 else "behind"
        detail = f"its clock is {abs(offset_s):.0f} s {way} the platform's"
        yield _strain(said, TroubleKind.NODE_CLOCK_OFF, detail)
    if row.get(node.TUNNEL_LINKS.name, 1) == 0:
        yield _strain(said, TroubleKind.TUNNEL_DOWN, "it has no connection to an ingress")


def _disk(row: Mapping[str, float]) -> float:
    """As `df` counts: blocks that a file system reserves are nobody's to use."""
    used, free = row.get(node.DISK_USED.name), row.get(node.DISK_FREE.name)
    return 0.0 if used is None or free is None else _part(used, used + free)


def _part(value: float | None, whole: float | None) -> float:
    return value / whole if value is not None and whole else 0.0


def _of_errors(said: Said, count: int) -> Iterator[Trouble]:
    if count > ERRORS:
        who = f"the agent of {said.name}" if said.kind == "node" else said.name
        detail = f"{who} logged {count} errors in the last five minutes"
        yield _strain(said, TroubleKind.SERVICE_ERRORS, detail)


def _strain(said: Said, kind: TroubleKind, detail: str) -> Trouble:
    return Trouble(kind=kind, project=PLATFORM, entity_id=said.id, entity_name=said.name, detail=detail)
