"""Brings what containers write into the spool: one loop over all files, or a stream per container where its files cannot be read.

A silent container costs one `stat` per round.  While the bus is away, little is not worth a block: it waits in the Engine's file for more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime

from loguru import logger

from agent.log_api_follower import ApiFollower
from agent.log_chunks import Chunk, LogSource, tail_lines
from agent.log_file_follower import FileFollower
from agent.log_files import is_readable
from agent.log_place import LogPosition
from agent.log_spool import LogSpool
from lattice.cancelling import cancel_and_wait, to_its_end
from lattice.contracts.messages import GapCause
from lattice.runtime import Container, Runtime

POLL_S = 0.2
_LITTLE_BYTES, _LITTLE_WAITS_S = 64 * 1024, 5.0
_RETRY_S = 1.0

Lost = Callable[[LogSource], None]


class _File:
    """A file follower, which one task at a time may use."""

    def __init__(self, follower: FileFollower) -> None:
        self.follower = follower
        self.lock = asyncio.Lock()
        self.read_at = 0.0


class LogCollecting:
    """Reads the logs of all containers that it is told to follow."""

    def __init__(
        self, runtime: Runtime, spool: LogSpool, *, is_urgent: Callable[[], bool], lost: Lost
    ) -> None:
        self._runtime, self._spool, self._is_urgent, self._lost = runtime, spool, is_urgent, lost
        self._files: dict[str, _File] = {}
        self._streams: dict[str, tuple[ApiFollower, asyncio.Task[None]]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._some_files = asyncio.Event()

    @property
    def followed(self) -> frozenset[str]:
        return frozenset((*self._files, *self._streams))

    def positions(self) -> dict[str, LogPosition]:
        """How far each log is in the spool."""
        files = {each: file.follower.position for each, file in self._files.items()}
        return files | {each: follower.position for each, (follower, _) in self._streams.items()}

    def follow(self, source: LogSource, container: Container, position: LogPosition) -> None:
        """Begin to read a container's log."""
        if is_readable(container.log_path):
            self._files[container.id] = _File(FileFollower(source, container.log_path, position))
            self._some_files.set()
            return
        follower = ApiFollower(source, self._runtime, position, self._keep)
        self._streams[container.id] = follower, asyncio.create_task(follower.run())

    def poke(self, container_id: str, started_at: datetime | None) -> None:
        """Say which run of a container there is to read."""
        if container_id in self._streams:
            self._streams[container_id][0].poke(started_at)

    def unfollow(self, container_id: str) -> tuple[str, ...]:
        """Its container is gone; the last lines of it."""
        lines = self.tail(container_id)
        if container_id in self._streams:
            self._streams.pop(container_id)[1].cancel()
        elif container_id in self._files:
            closing = asyncio.create_task(self._close(self._files.pop(container_id)))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return lines

    def tail(self, container_id: str) -> tuple[str, ...]:
        """The last lines of a container."""
        if container_id in self._streams:
            return tail_lines(self._streams[container_id][0].tail)
        return tail_lines(self._files[container_id].follower.tail) if container_id in self._files else ()

    async def read_to_end(self, container_id: str, *, timeout_s: float) -> bool:
        """Have everything in the spool that an ended container wrote; False when that took longer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._read_to_end(container_id)
            return True
        return False

    async def run(self) -> None:
        """Read what is written, for ever."""
        while True:
            await self._some_files.wait()
            try:
                await self.collect()
            except OSError as error:
                logger.error("logs wait in the Engine's files: {}", error)
                await asyncio.sleep(_RETRY_S)
            await asyncio.sleep(POLL_S)
            if not self._files:
                self._some_files.clear()

    async def collect(self) -> None:
        """Read everything that there is, a chunk of each container in turn."""
        now_s = asyncio.get_running_loop().time()
        due = [file for file in self._files.values() if self._is_due(file, now_s)]
        while due:
            due = [file for file in due if await self._step(file)]

    async def close(self) -> None:
        """Stop reading."""
        await cancel_and_wait([*(task for _, task in self._streams.values()), *self._closing])
        for file in self._files.values():
            file.follower.close()

    def _is_due(self, file: _File, now_s: float) -> bool:
        unread = file.follower.unread_bytes()
        waits = not self._is_urgent() and unread < _LITTLE_BYTES and now_s - file.read_at < _LITTLE_WAITS_S
        return unread > 0 and not waits

    async def _step(self, file: _File) -> bool:
        """Whether there may be more.  What was begun is done to its end, since it counts only as a whole."""
        return await to_its_end(self._read_and_keep(file))

    async def _read_and_keep(self, file: _File) -> bool:
        async with file.lock:
            chunks = await asyncio.to_thread(file.follower.read)
            if chunks:
                await self._keep(file.follower.source, chunks)
                file.follower.advance()
        file.read_at = asyncio.get_running_loop().time()
        return bool(chunks)

    async def _keep(self, source: LogSource, chunks: Sequence[Chunk]) -> None:
        await self._spool.append(source, chunks)
        if _rotated(chunks):
            self._lost(source)

    async def _read_to_end(self, container_id: str) -> None:
        if (file := self._files.get(container_id)) is not None:
            while await self._step(file):
                pass
        elif (stream := self._streams.get(container_id)) is not None and not stream[1].done():
            await stream[0].read_out.wait()

    async def _close(self, file: _File) -> None:
        """Its open file may have something that was not read yet, though it has no name any more."""
        try:
            while await self._step(file):
                pass
        finally:
            file.follower.close()


def _rotated(chunks: Iterable[Chunk]) -> bool:
    return any(each.gap is not None and each.gap.cause is GapCause.ROTATED for each in chunks)
