"""How many errors each process has logged lately: what its counter of records rose by in the last five minutes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lattice.contracts.messages.metric_queries import SourceKind
from lattice.metrics.declared import process
from services.metrics.newest import Said

WITHIN = timedelta(minutes=5)
_ERRORS = ("error", "critical")

Key = tuple[SourceKind, str]


@dataclass(slots=True)
class LoggedErrors:
    """By source; of a source that begins anew its counter does, too."""

    _risen: dict[Key, deque[tuple[datetime, int]]] = field(default_factory=dict)
    _last: dict[Key, float] = field(default_factory=dict)

    def take(self, said: Said) -> None:
        """Note what a message says."""
        key, count = (said.kind, said.id), errors_in(said)
        before = self._last.get(key)
        self._last[key] = count
        rise = 0.0 if before is None else count if count < before else count - before
        if rise:
            self._risen.setdefault(key, deque()).append((said.heard_at, int(rise)))

    def within(self, said: Said, now: datetime) -> int:
        """How many in the last five minutes."""
        risen = self._risen.get((said.kind, said.id), deque())
        while risen and now - risen[0][0] > WITHIN:
            risen.popleft()
        return sum(count for _, count in risen)


def errors_in(said: Said) -> float:
    """How many records of errors its process has logged since it began."""
    return sum(
        values[0]
        for spec, labels, values in said.readings()
        if spec is process.LOG_RECORDS and labels and labels[-1] in _ERRORS
    )
