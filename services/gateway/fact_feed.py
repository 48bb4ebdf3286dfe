"""Facts as a stream without gaps, however lossy the way.

One subscription hears all facts and hands them to every listener.  A listener starts with pages from the registry until it has caught up,
then takes live facts in the order of `seq`; whenever one is missing (a lost message, a full queue, a reconnect) or nothing came for a
while, it asks for a page again.  `seq` is gap-free over all projects, so everything is followed and filtered only when it is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress

from loguru import logger

from lattice.contracts import catalogue
from lattice.contracts.messages import Fact, ListFacts
from lattice.errors import Temporary
from lattice.messaging import Bus, Received, Subscription
from services.gateway.waiting import next_of, pause

PAGE = 500
_QUEUE = 1000
_RETRY_S = 1.0


class FactFeed:
    """Hands facts to listeners."""

    def __init__(self, bus: Bus, *, quiet_s: float) -> None:
        self._bus = bus
        self._quiet_s = quiet_s
        self._listeners: set[asyncio.Queue[Fact | None]] = set()
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Begin to hear facts."""
        self._subscription = await self._bus.subscribe(catalogue.FACT, self._heard)
        self._bus.on_connected(self._look_again)

    async def stop(self) -> None:
        """Hear no more."""
        if self._subscription is not None:
            await self._subscription.stop()

    async def head(self) -> int:
        """The newest seq so far."""
        page = await self._bus.ask(catalogue.LIST_FACTS, ListFacts(limit=1, newest_first=True))
        return page.head

    async def follow(self, after: int, *, ended: asyncio.Event) -> AsyncGenerator[Fact | None, None]:
        """Every fact after `after`, in order, each once, until `ended`; None now and then while nothing happens."""
        with self._listen() as queue:
            cursor = after
            while not ended.is_set():
                async for fact in self._pages(cursor, ended):
                    cursor = fact.seq
                    yield fact
                # Live until one is missing.  The one behind the gap is dropped: the registry's pages have it too.
                while (heard := await next_of(queue, ended, self._quiet_s)) and heard.seq <= cursor + 1:
                    if heard.seq == cursor + 1:
                        cursor = heard.seq
                        yield heard
                if heard is None:
                    yield None

    async def _pages(self, cursor: int, ended: asyncio.Event) -> AsyncIterator[Fact]:
        while not ended.is_set():
            try:
                page = await self._bus.ask(catalogue.LIST_FACTS, ListFacts(after=cursor, limit=PAGE))
            except Temporary as error:
                logger.warning("facts cannot be listed now: {}", error)
                await pause(ended, _RETRY_S)
                continue
            for fact in page.facts:
                yield fact
            if len(page.facts) < PAGE:
                return
            cursor = page.facts[-1].seq

    @contextmanager
    def _listen(self) -> Iterator[asyncio.Queue[Fact | None]]:
        queue: asyncio.Queue[Fact | None] = asyncio.Queue(_QUEUE)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    async def _heard(self, received: Received[Fact]) -> None:
        self._hand_out(received.message)

    async def _look_again(self) -> None:
        """The link was away: nobody knows what was said meanwhile."""
        self._hand_out(None)

    def _hand_out(self, fact: Fact | None) -> None:
        for queue in self._listeners:
            # A listener that is too slow misses some, sees the gap and asks for a page.
            with suppress(asyncio.QueueFull):
                queue.put_nowait(fact)


def visible(project: str | None) -> Callable[[Fact], bool]:
    """Which facts a reader of one project, or of all, sees."""
    return lambda fact: project is None or fact.project == project
