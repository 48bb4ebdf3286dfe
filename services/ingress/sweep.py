"""Ends connections that reached a limit of time: one task looks at all of them now and then, so that a byte costs no timer."""

from __future__ import annotations

import asyncio
from typing import Protocol

from loguru import logger

from services.ingress import metrics
from services.ingress.time_limits import Limit, Seen, TimeLimits, limit_reached

# A limit is reached at most this part of it late, and where it is long at most this many seconds.
_LATE_PART = 1 / 20
_LATEST_S = 15.0


class Timed(Protocol):
    """A connection whose time is watched."""

    @property
    def moves(self) -> int:
        """How often something has moved, in either direction."""

    def reset(self, reason: str) -> None:
        """Break it off."""


class Sweep:
    """All connections that are spliced and not looked into."""

    def __init__(self, limits: TimeLimits) -> None:
        self._limits = limits
        self._seen: dict[Timed, Seen] = {}

    def begin(self, connection: Timed) -> None:
        """A connection stands."""
        now_s = asyncio.get_running_loop().time()
        self._seen[connection] = Seen(now_s, connection.moves, now_s)

    def end(self, connection: Timed) -> None:
        """It is over; fine if that is known."""
        self._seen.pop(connection, None)

    async def run(self) -> None:
        """Look again and again, for ever; nothing to do where there is no limit."""
        shortest_s = self._limits.shortest_s
        while shortest_s is not None:
            await asyncio.sleep(min(shortest_s * _LATE_PART, _LATEST_S))
            self.look(asyncio.get_running_loop().time())

    def look(self, now_s: float) -> None:
        """End those whose time is up."""
        for connection, before in [*self._seen.items()]:
            seen = self._seen[connection] = before.again(connection.moves, now_s)
            limit = limit_reached(seen, now_s, self._limits)
            if limit is not None:
                self._break_off(connection, limit)

    def _break_off(self, connection: Timed, limit: Limit) -> None:
        del self._seen[connection]
        reason = self._limits.reason(limit)
        ended_by(limit, reason)
        connection.reset(reason)


def ended_by(limit: Limit, reason: str) -> None:
    """Count a connection that is ended by a limit, and say so."""
    metrics.OUT_OF_TIME.labels(limit.value).inc()
    logger.info("a connection is ended: {}", reason)
