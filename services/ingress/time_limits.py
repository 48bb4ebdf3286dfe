"""Which connections are there for too long, or silent for too long.  Pure: what was seen of one comes in, the limit that it reached goes out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Limit(StrEnum):
    """What ended a connection; the metric's label."""

    IDLE = "idle"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long nothing may move in either direction, and how long a connection may last in all; None for as long as anybody likes."""

    idle_s: float | None
    total_s: float | None

    @property
    def shortest_s(self) -> float | None:
        """The one that is reached first; None where there is none."""
        return min((each for each in (self.idle_s, self.total_s) if each is not None), default=None)

    def reason(self, limit: Limit) -> str:
        """In words, for whoever is on the other side."""
        if limit is Limit.IDLE:
            return f"nothing was said for {self.idle_s:g} s"
        return f"it has lasted for {self.total_s:g} s"


@dataclass(frozen=True, slots=True)
class Seen:
    """A connection as it was seen last: since when it is there, how often something has moved, and when that was seen to change."""

    began_s: float
    moves: int
    moved_s: float

    def again(self, moves: int, now_s: float) -> Seen:
        """The same a while later."""
        return self if moves == self.moves else Seen(self.began_s, moves, now_s)


def limit_reached(seen: Seen, now_s: float, limits: TimeLimits) -> Limit | None:
    """The limit that a connection has reached, if any."""
    if limits.total_s is not None and now_s - seen.began_s >= limits.total_s:
        return Limit.TOTAL
    if limits.idle_s is not None and now_s - seen.moved_s >= limits.idle_s:
        return Limit.IDLE
    return None
