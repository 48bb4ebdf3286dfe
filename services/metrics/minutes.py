"""What is kept of a minute: of gauges the newest value, of counters by how much they rose per second since the minute before.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from lattice.metrics.readings import Reading
from lattice.metrics.spec import History
from services.metrics.newest import Said
from services.metrics.rings import Series

Seen = tuple[datetime, float]
"""When a counter was read by its own clock, and what it said."""


def values_of(said: Said, seen: Mapping[Series, Seen]) -> Iterator[tuple[Series, float | None, float]]:
    """Each series of a message that is kept: its number for this minute, None where there is none yet, and what was read."""
    for each in said.readings():
        if each.spec.history is None or each.spec.labels:
            continue
        series = series_of(said, each)
        value = each.values[0]
        if each.spec.history is History.NEWEST:
            yield series, value, value
        else:
            yield series, rate(seen.get(series), (said.taken_at, value)), value


def rate(before: Seen | None, now: Seen) -> float | None:
    """How much a counter rose per second; None without two readings.  One that is lower than before has begun anew."""
    if before is None:
        return None
    seconds = (now[0] - before[0]).total_seconds()
    if seconds <= 0:
        return None
    rose = now[1] - before[1] if now[1] >= before[1] else now[1]
    return rose / seconds


def series_of(said: Said, each: Reading) -> Series:
    """Which series a reading belongs to."""
    owner = said.owners.get(each.labels[0]) if each.labels else None
    if owner is None:
        return Series(each.spec.name, said.kind, said.id, said.name)
    return Series(
        each.spec.name,
        said.kind,
        said.id,
        said.name,
        project=owner.project,
        workload=owner.workload,
        workload_id=owner.workload_id,
        instance=each.labels[0],
    )
