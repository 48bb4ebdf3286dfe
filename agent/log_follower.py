"""Ships the log of one container: follows it, packs lines into blocks, and goes on only when a block is on the stream's disk.

Back-pressure is the whole memory policy: while the bus is away nothing more is read, and the log waits in the Engine's own file (three of
10 MB), so nothing is dropped in silence.  What was rotated away before it could be read is told as `logs_lost`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, cast

from agent.log_lines import Line, LineReader, LogPosition
from lattice import log_records
from lattice.contracts.catalogue import LOG_BLOCK
from lattice.contracts.messages import LogBlock
from lattice.contracts.nouns import ContainerKey
from lattice.errors import LatticeError, NotFound, Temporary
from lattice.messaging import Bus
from lattice.runtime import LogPiece, Runtime

BLOCK_BYTES = 32 * 1024
FLUSH_S = 0.25
_RETRY_S = 0.5
_TAIL_LINES, _TAIL_WIDTH = 20, 256

Lost = Callable[[], None]


class LogSource:
    """Whose log it is."""

    def __init__(
        self, *, node_id: str, container_id: str, key: ContainerKey, instance_id: str, project: str
    ) -> None:
        self.node_id, self.container_id, self.key = node_id, container_id, key
        self.instance_id, self.project = instance_id, project


class LogFollower:
    """Follows one container's log for as long as the container exists."""

    def __init__(
        self, source: LogSource, runtime: Runtime, bus: Bus, position: LogPosition, *, lost: Lost
    ) -> None:
        self._source, self._runtime, self._bus, self._lost = source, runtime, bus, lost
        self.position = position
        self.drained = asyncio.Event()
        """Set while everything that the container wrote in its last run is shipped."""
        self.read_out = asyncio.Event()
        """Set while everything that the container wrote in its last run was read, shipped or not."""
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._run_wanted: datetime | None = None
        self._run_read: datetime | None = None
        self._poked = asyncio.Event()

    def poke(self, started_at: datetime | None) -> None:
        """Say which run of the container there is to read; a run that was read to its end is not read again."""
        if started_at != self._run_wanted:
            self._run_wanted = started_at
            self.drained.clear()
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
                self.drained.set()
                self.read_out.set()
                return
            except LatticeError:
                await asyncio.sleep(_RETRY_S)
                continue
            self._run_read = reading
            if reading == self._run_wanted:
                self.drained.set()

    async def _read_to_end(self) -> None:
        reader = LineReader(self.position)
        log = self._runtime.logs(self._source.container_id, since_ns=self.position.base_ns, follow=True)
        async with aclosing(cast("Any", log)) as batches:
            await self._ship_all(reader, batches)
        await self._ship(reader.end())
        self.position = reader.position

    async def _ship_all(self, reader: LineReader, batches: AsyncIterator[list[LogPiece]]) -> None:
        loop, waiting = asyncio.get_running_loop(), list[Line]()
        flush_at: float | None = None
        upcoming = asyncio.ensure_future(_next(batches))
        try:
            while True:
                timeout_s = None if flush_at is None else max(0.0, flush_at - loop.time())
                await asyncio.wait({upcoming}, timeout=timeout_s)
                if upcoming.done():
                    pieces = upcoming.result()
                    if pieces is None:
                        self.read_out.set()
                        await self._ship(waiting)
                        self.position = reader.position
                        return
                    waiting += self._lines(reader, pieces)
                    flush_at = flush_at or loop.time() + FLUSH_S
                    upcoming = asyncio.ensure_future(_next(batches))
                if loop.time() >= (flush_at or 0.0) or _size(waiting) >= BLOCK_BYTES:
                    place = reader.position
                    await self._ship(waiting)
                    waiting, flush_at, self.position = [], None, place
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)

    def _lines(self, reader: LineReader, pieces: list[LogPiece]) -> list[Line]:
        was_lost = reader.lost
        lines = reader.feed(pieces)
        if reader.lost and not was_lost:
            self._lost()
        self.tail.extend(line.text[:_TAIL_WIDTH] for line in lines[-_TAIL_LINES:])
        return lines

    async def _ship(self, lines: Sequence[Line]) -> None:
        for block in _blocks(lines):
            await self._append(block)

    async def _append(self, block: Sequence[Line]) -> None:
        source, first, last = self._source, block[0], block[-1]
        about = LogBlock(
            node_id=source.node_id,
            workload_id=source.key.workload_id,
            instance_id=source.instance_id,
            project=source.project,
            slot=source.key.slot,
            epoch=source.key.epoch,
            source=source.container_id,
            first=first.number,
            last=last.number,
            first_at_ns=first.time_ns,
            last_at_ns=last.time_ns,
        )
        msg_id = f"log-{source.container_id[:32]}-{first.number}-{last.number}"
        body = log_records.pack(_records(block))
        while True:
            try:
                await self._bus.append(
                    LOG_BLOCK,
                    about,
                    msg_id=msg_id,
                    body=body,
                    node_id=source.node_id,
                    workload_id=source.key.workload_id,
                )
                return
            except Temporary:
                await asyncio.sleep(_RETRY_S)


async def _next(batches: AsyncIterator[list[LogPiece]]) -> list[LogPiece] | None:
    return await anext(batches, None)


def _size(lines: Sequence[Line]) -> int:
    return sum(len(line.text) for line in lines)


def _blocks(lines: Sequence[Line]) -> list[Sequence[Line]]:
    """The lines in blocks of at most 32 KiB, or one line."""
    blocks: list[Sequence[Line]] = []
    start, size = 0, 0
    for at, line in enumerate(lines):
        if size and size + len(line.text) > BLOCK_BYTES:
            blocks.append(lines[start:at])
            start, size = at, 0
        size += len(line.text)
    return [*blocks, lines[start:]] if lines else []


def _records(lines: Sequence[Line]) -> bytes:
    return b"".join(log_records.record(line.time_ns, line.stream, line.text + "\n") for line in lines)
