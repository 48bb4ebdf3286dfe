"""Streams and terminals live longer than the token that opened them may hold: they are cut within a second of its end.

One query a second asks for all open ones together, whatever their number.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from loguru import logger

from lattice.clock import Clock
from lattice.errors import LatticeError
from lattice.storage import Store
from services.gateway import store as queries

LOOK_EVERY_S = 0.8


class OpenStreams:
    """Knows what is open, by credential."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._open: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def opened(self, credential_id: str) -> Iterator[asyncio.Event]:
        """While the block runs, the event is set once the credential no longer holds or the gateway ends."""
        ended = asyncio.Event()
        self._open[credential_id].add(ended)
        try:
            yield ended
        finally:
            self._open[credential_id].discard(ended)
            if not self._open[credential_id]:
                del self._open[credential_id]

    async def watch(self) -> None:
        """Look again and again; runs beside the requests."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except LatticeError as error:
                logger.warning("could not check the credentials of open streams: {}", error)

    async def look(self) -> None:
        """End the streams whose credential no longer holds."""
        ids = set(self._open)
        if not ids:
            return
        async with self._store.transaction() as tx:
            live = await queries.live_credentials(tx, ids, self._clock.now())
        for credential_id in ids - live:
            self._end(credential_id)

    def end_all(self) -> None:
        """End every stream: the gateway ends, and clients are to come back to another or later."""
        for credential_id in tuple(self._open):
            self._end(credential_id)

    def _end(self, credential_id: str) -> None:
        for ended in tuple(self._open.get(credential_id, ())):
            ended.set()
