"""Tells the registry what is there: after every change, a moment later so that changes that come together are told together, and every 30 s.

A report speaks of everything, so while many containers are on their way the moment is longer: else starting a hundred would mean hundreds of
reports of a hundred each, and cost the platform half as much as the Engine.  One container on its way is told of at once.

That nothing has changed is news as well: an update waits until what is new has served for a while, and silence proves nothing.  So in the half
minute after a change it is said more often.

Nothing waits here for the bus: while it is away only the newest state matters, and that is told when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from lattice.contracts.catalogue import STATUS
from lattice.contracts.messages import ObservedDocument
from lattice.contracts.nouns import Phase
from lattice.errors import LatticeError
from lattice.messaging import Bus

COALESCE_S, LONGEST_COALESCE_S = 0.02, 0.5
EVERY_S = 30.0
# A little later than the times for which people let an update watch what is new: 5 s where nothing else is said, 10 s, 20 s, 30 s.
_STILL_SO_S = (6.0, 11.0, 21.0, 31.0)
_RETRY_S = 1.0

_ON_THEIR_WAY = frozenset({Phase.PENDING, Phase.PULLING, Phase.STARTING, Phase.STOPPING})

Compose = Callable[[int], ObservedDocument]


def coalesce_s(told: ObservedDocument | None) -> float:
    """How long changes are gathered before the next report, after what was told last."""
    on_their_way = sum(each.phase in _ON_THEIR_WAY for each in told.containers) if told else 0
    return min(LONGEST_COALESCE_S, COALESCE_S * max(1, on_their_way))


def pause_s(quiet_s: float, *, every_s: float = EVERY_S) -> float:
    """How long until the next report, when the last change was told `quiet_s` ago."""
    return min(every_s, next((at_s - quiet_s for at_s in _STILL_SO_S if at_s > quiet_s), every_s))


class Reporter:
    """Sends observed documents, each with a higher counter."""

    def __init__(self, node_id: str, bus: Bus, compose: Compose, *, every_s: float = EVERY_S) -> None:
        self._node_id, self._bus, self._compose, self._every_s = node_id, bus, compose, every_s
        self._counter = 0
        self._sent: ObservedDocument | None = None
        self._changed = asyncio.Event()
        self._forced = True
        self._due_s = self._news_s = 0.0

    def changed(self) -> None:
        """Something may look different now."""
        self._changed.set()

    async def report_now(self) -> None:
        """Tell everything soon, even if nothing changed: somebody asked, or the link is new."""
        self._forced = True
        self._changed.set()

    async def run(self) -> None:
        """Report, for ever."""
        self._due_s = asyncio.get_running_loop().time() + self._every_s
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._due_s):
                    await self._changed.wait()
            await asyncio.sleep(coalesce_s(self._sent))
            self._changed.clear()
            await self._report()

    async def _report(self) -> None:
        document, now_s = self._compose(self._counter + 1), asyncio.get_running_loop().time()
        # Due is counted from what was told last, not from the last wake-up: those come without news, too, and would put it off for ever.
        told = self._sent is not None and _same(document, self._sent)
        if told and not self._forced and now_s < self._due_s:
            return
        if not told:
            self._news_s = now_s
        self._due_s = now_s + pause_s(now_s - self._news_s, every_s=self._every_s)
        try:
            msg_id = f"{document.boot_id}-{document.counter}"
            await self._bus.append(STATUS, document, msg_id=msg_id, node_id=self._node_id)
        except LatticeError:
            self._forced = True
            await asyncio.sleep(_RETRY_S if self._bus.connected else 0)
            if self._bus.connected:
                self._changed.set()
            return
        self._counter = document.counter
        self._sent, self._forced = document, False


def _same(one: ObservedDocument, other: ObservedDocument) -> bool:
    return one.model_copy(update={"counter": other.counter}) == other
