"""Reads one container's log through the Engine's API, where its files cannot be read: the same records with the same numbers, at ten times the
Engine's cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, cast

from agent.log_chunks import CHUNK_BYTES, TAIL_LINES, Chunk, LogSource, tail_of
from agent.log_pieces import PieceReader, records_of
from agent.log_place import LogPosition
from lattice.errors import LatticeError, NotFound
from lattice.runtime import LogPiece, Runtime

FLUSH_S = 0.25
_RETRY_S = 0.5

Keep = Callable[[LogSource, Sequence[Chunk]], Awaitable[None]]
"""Puts chunks into the spool."""


class ApiFollower:
    """Follows one container's log for as long as the container exists."""

    def __init__(self, source: LogSource, runtime: Runtime, position: LogPosition, keep: Keep) -> None:
        self._source, self._runtime, self._keep = source, runtime, keep
        self.position = position
        self.read_out = asyncio.Event()
        """Set while everything that the container wrote in its last run is in the spool."""
        self.tail = b""
        self._run_wanted: datetime | None = None
        self._run_read: datetime | None = None
        self._poked = asyncio.Event()

    def poke(self, started_at: datetime | None) -> None:
        """Say which run of the container there is to read; a run that was read to its end is not read again."""
        if started_at != self._run_wanted:
            self._run_wanted = started_at
            self.read_out.clear()
            self._poked.set()

    async def run(self) -> None:
        """Follow until the container is gone."""
        while True:
            while self._run_read == self._run_wanted:
                self._poked.clear()
                await self._poked.wait()
            reading = self._run_wanted
            try:
                await self._read_to_end()
            except NotFound:
                self.read_out.set()
                return
            except (LatticeError, OSError):
                await asyncio.sleep(_RETRY_S)
                continue
            self._run_read = reading
            if reading == self._run_wanted:
                self.read_out.set()

    async def _read_to_end(self) -> None:
        reader = PieceReader(self.position)
        since_ns = self.position.base_ns or self.position.last_ns
        log = self._runtime.logs(self._source.container_id, since_ns=since_ns, follow=True)
        async with aclosing(cast("Any", log)) as batches:
            await self._keep_all(reader, batches)

    async def _keep_all(self, reader: PieceReader, batches: AsyncIterator[list[LogPiece]]) -> None:
        loop, waiting, size = asyncio.get_running_loop(), list[LogPiece](), 0
        flush_at: float | None = None
        upcoming = asyncio.ensure_future(_next(batches))
        try:
            while True:
                timeout_s = None if flush_at is None else max(0.0, flush_at - loop.time())
                await asyncio.wait({upcoming}, timeout=timeout_s)
                if upcoming.done():
                    pieces = upcoming.result()
                    if pieces is None:
                        await self._take(reader, waiting)
                        return
                    waiting += pieces
                    size += sum(len(piece.text) for piece in pieces)
                    flush_at = flush_at or loop.time() + FLUSH_S
                    upcoming = asyncio.ensure_future(_next(batches))
                if loop.time() >= (flush_at or 0.0) or size >= CHUNK_BYTES:
                    await self._take(reader, waiting)
                    waiting, size, flush_at = [], 0, None
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)

    async def _take(self, reader: PieceReader, waiting: Sequence[LogPiece]) -> None:
        for pieces in _cut(waiting):
            chunks = await asyncio.to_thread(reader.feed, pieces)
            if chunks:
                await self._keep(self._source, chunks)
                self.position = chunks[-1].position
        self.tail = tail_of(self.tail, records_of(waiting[-TAIL_LINES:]))


async def _next(batches: AsyncIterator[list[LogPiece]]) -> list[LogPiece] | None:
    return await anext(batches, None)


def _cut(pieces: Sequence[LogPiece]) -> list[Sequence[LogPiece]]:
    """So many together as make a chunk; half of one, since quoted text is longer."""
    parts: list[Sequence[LogPiece]] = []
    start, size = 0, 0
    for at, piece in enumerate(pieces):
        if size and size + len(piece.text) > CHUNK_BYTES // 2:
            parts.append(pieces[start:at])
            start, size = at, 0
        size += len(piece.text)
    return [*parts, pieces[start:]] if pieces else []
