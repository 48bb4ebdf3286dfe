"""The last day of each series in memory: a number for each minute, in rings of one size.  Pure.

A minute is its number since 1970.  What was not told of a minute is not a number there.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import isnan, nan

from lattice.contracts.messages.metric_queries import Points, SourceKind

MINUTES = 24 * 60


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """One metric of one source; of an instance with whose it is."""

    metric: str
    kind: SourceKind
    source_id: str
    source_name: str
    project: str = ""
    workload: str = ""
    workload_id: str = ""
    instance: str = ""


@dataclass(slots=True)
class Ring:
    """The numbers of one series up to `until`, the newest minute that has one."""

    until: int
    points: array[float] = field(default_factory=lambda: array("f", [nan]) * MINUTES)

    def put(self, minute: int, value: float) -> None:
        """Add a number; one for a minute that is over for long is dropped."""
        if minute <= self.until - MINUTES:
            return
        for skipped in range(max(self.until + 1, minute - MINUTES + 1), minute):
            self.points[skipped % MINUTES] = nan
        self.points[minute % MINUTES] = value
        self.until = max(self.until, minute)

    def get(self, minute: int) -> float:
        """The number of a minute, or not a number."""
        return self.points[minute % MINUTES] if self.until - MINUTES < minute <= self.until else nan


class Rings:
    """All series, at most `most` of them: one that has nothing of the last day makes room for a new one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rings: dict[Series, Ring] = {}

    def __len__(self) -> int:
        return len(self._rings)

    def put(self, minute: int, values: Iterable[tuple[Series, float]]) -> int:
        """Add the numbers of a minute; how many had no room."""
        refused = 0
        self.forget_old(
            minute
        )  # once for all: looking for room again for each that is refused would take minutes
        for series, value in values:
            ring = self._rings.get(series)
            if ring is None:
                if len(self._rings) >= self._most:
                    refused += 1
                    continue
                ring = self._rings[series] = Ring(minute)
            ring.put(minute, value)
        return refused

    def forget_old(self, minute: int) -> None:
        """Let series go of which there is nothing in the last day."""
        self._rings = {series: ring for series, ring in self._rings.items() if ring.until > minute - MINUTES}

    def matching(self, wanted: Callable[[Series], bool]) -> Iterator[tuple[Series, Ring]]:
        """The series that are wanted, in order."""
        known = tuple(self._rings.items())  # a thread may add a minute meanwhile
        return iter(sorted(((each, ring) for each, ring in known if wanted(each)), key=_by_series))

    def get(self, series: Series) -> Ring | None:
        """The ring of one series."""
        return self._rings.get(series)


def _by_series(found: tuple[Series, Ring]) -> Series:
    return found[0]


def points(ring: Ring, first_minute: int, steps: int, step_minutes: int) -> Points:
    """The mean of each step; None for one without a number."""
    return tuple(_mean(ring, first_minute + number * step_minutes, step_minutes) for number in range(steps))


def _mean(ring: Ring, first_minute: int, minutes: int) -> float | None:
    known = [
        value
        for value in (ring.get(minute) for minute in range(first_minute, first_minute + minutes))
        if not isnan(value)
    ]
    return float(f"{sum(known) / len(known):.6g}") if known else None
