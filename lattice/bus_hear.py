"""One subscription: messages one after the other, in order, through a queue of its own.

nats-py cancels the callbacks of a connection that ends; a handler in the middle of its work must not end with it.  The queue is short: what
the handler cannot keep up with waits in nats-py, which drops messages only beyond 128 MiB and says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg

from lattice.bus_link import Link, Wanted

QUEUE = 256


class Hearing:
    """Hands each message to `handle` until `stop`."""

    def __init__(self, link: Link, handle: Callable[[Msg], Awaitable[None]]) -> None:
        self._link, self._handle = link, handle
        self._arrived: asyncio.Queue[Msg | None] = asyncio.Queue(QUEUE)
        self._wanted: Wanted | None = None
        self._worker: asyncio.Task[None] | None = None
        self._stopped = False

    async def start(self, subject: str, *, queue: str = "") -> None:
        self._worker = asyncio.create_task(self._work(), name=f"hear {subject}")
        self._wanted = await self._link.subscribe(subject, self._arrived.put, queue=queue)

    async def stop(self) -> None:
        """Take no more; wait for the handler that runs, unless it is the one that stops us."""
        self._stopped = True
        if self._wanted is not None:
            await self._wanted.stop()
        while not self._arrived.empty():
            self._arrived.get_nowait()
        self._arrived.put_nowait(None)
        if self._worker is not None and self._worker is not asyncio.current_task():
            await asyncio.wait({self._worker})

    async def _work(self) -> None:
        while not self._stopped:
            msg = await self._arrived.get()
            if msg is not None:
                await self._handle(msg)
