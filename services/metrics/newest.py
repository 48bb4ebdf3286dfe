"""What nodes and services said last, and before that: two messages of each, from which people see what is going on now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lattice.contracts.messages import MetricOwner, MetricSource, SampleTable
from lattice.contracts.messages.metric_queries import SourceKind
from lattice.metrics.readings import Reading, readings_of

# A source that fell silent is shown as such for a day.
FORGET_AFTER = timedelta(days=1)

Key = tuple[SourceKind, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One message, checked: when it was taken by its sender's clock, when it came by ours, and whose instances it speaks of."""

    kind: SourceKind
    id: str
    name: str
    taken_at: datetime
    heard_at: datetime
    tables: tuple[SampleTable, ...]
    owners: Mapping[str, MetricOwner] = field(default_factory=dict)

    @property
    def source(self) -> MetricSource:
        """Who said it, and when by our clock: that of a node may be wrong."""
        return MetricSource(kind=self.kind, id=self.id, name=self.name, taken_at=self.heard_at)

    def readings(self) -> Iterator[Reading]:
        """All that it says."""
        return (each for table in self.tables for each in readings_of(table))


@dataclass(frozen=True, slots=True)
class Pair:
    """The newest of a source, and the one before it."""

    newest: Said
    before: Said | None = None


class Newest:
    """By source."""

    def __init__(self) -> None:
        self._pairs: dict[Key, Pair] = {}

    def take(self, said: Said) -> None:
        """Keep a message."""
        key = (said.kind, said.id)
        known = self._pairs.get(key)
        self._pairs[key] = Pair(said, known.newest if known else None)

    def get(self, kind: SourceKind, source_id: str) -> Pair | None:
        """What a source said last."""
        return self._pairs.get((kind, source_id))

    def all(self, kind: SourceKind | None = None) -> list[Pair]:
        """Of every source, in the order of names."""
        found = (pair for (each, _), pair in self._pairs.items() if kind in (None, each))
        return sorted(found, key=lambda pair: (pair.newest.kind, pair.newest.name, pair.newest.id))

    def forget_silent(self, now: datetime) -> None:
        """Let those go that have been silent for a day."""
        self._pairs = {
            key: pair for key, pair in self._pairs.items() if now - pair.newest.heard_at < FORGET_AFTER
        }

    def count(self, kind: SourceKind) -> int:
        """How many are known."""
        return sum(each == kind for each, _ in self._pairs)


def rows_of(readings: Iterable[Reading]) -> dict[str, dict[str, float]]:
    """instance ("" for the node itself) -> metric -> value, of what has no other label."""
    found: dict[str, dict[str, float]] = {}
    for spec, labels, values in readings:
        if not spec.labels:
            found.setdefault(labels[0] if labels else "", {})[spec.name] = values[0]
    return found
