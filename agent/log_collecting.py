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
# A container that floods could fill all files that the Engine keeps in less than a round.
_FLOOD_BYTES, _FLOOD_POLL_S = 8 * 2**20, 0.02
_LITTLE_BYTES, _LITTLE_WAITS_S = 64 * 1024, 5.0
_RETRY_S = 1.0

Lost = Callable[[LogSource], None]


class _File:
    """A file follower, which one task at a time may use."""

    def __init__(self, follower: FileFollower) -> None:
        self.follower = follower
        self.lock = asyncio.Lock()
        self.read_at = 0.0
        self.not_before = 0.0


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
        self._trouble = ""

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
        """Have everything in the spool that an ended container wrote; False when that took longer, or its file or the disk is at fault."""
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(timeout_s):
                await self._read_to_end(container_id)
            return True
        return False

    async def catch_up(self, container_id: str) -> None:
        """Read a container's file now, if it has one and there is something new."""
        file = self._files.get(container_id)
        while file is not None and file.follower.unread_bytes() > 0 and await self._try(file):
            pass

    async def run(self) -> None:
        """Read what is written, for ever."""
        while True:
            await self._some_files.wait()
            read = await self.collect()
            await asyncio.sleep(POLL_S if read < _FLOOD_BYTES else _FLOOD_POLL_S)
            if not self._files:
                self._some_files.clear()

    async def collect(self) -> int:
        """Read what there is, a chunk of each container in turn; how many bytes that was.

        What a flooding container wrote meanwhile waits for the next round: a block of a few lines costs as much as one of thousands.
        """
        now_s, size = asyncio.get_running_loop().time(), 0
        due = [file for file in self._files.values() if self._is_due(file, now_s)]
        while due:
            read = [await self._try(file) for file in due]
            due = [file for file, bytes_read in zip(due, read, strict=True) if bytes_read and _has_more(file)]
            size += sum(read)
        return size

    async def close(self) -> None:
        """Stop reading."""
        await cancel_and_wait([*(task for _, task in self._streams.values()), *self._closing])
        for file in self._files.values():
            file.follower.close()

    def _is_due(self, file: _File, now_s: float) -> bool:
        if now_s < file.not_before:
            return False
        unread = file.follower.unread_bytes()
        waits = not self._is_urgent() and unread < _LITTLE_BYTES and now_s - file.read_at < _LITTLE_WAITS_S
        return unread > 0 and not waits

    async def _try(self, file: _File) -> int:
        """How much was read.  A disk that is full, or a file that cannot be read, is told once and tried again."""
        try:
            read = await self._step(file)
        except OSError as error:
            file.not_before = asyncio.get_running_loop().time() + _RETRY_S
            if str(error) != self._trouble:
                logger.error("a log waits in the Engine's file: {}", error)
            self._trouble = str(error)
            return 0
        self._trouble = ""
        return read

    async def _step(self, file: _File) -> int:
        """How much was read; 0 when there is no more.  What was begun is done to its end, since it counts only as a whole."""
        return await to_its_end(self._read_and_keep(file))

    async def _read_and_keep(self, file: _File) -> int:
        async with file.lock:
            chunks = await asyncio.to_thread(file.follower.read)
            if chunks:
                await self._keep(file.follower.source, chunks)
                file.follower.advance()
        file.read_at = asyncio.get_running_loop().time()
        return sum(chunk.size_bytes or 1 for chunk in chunks)

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
            while await self._try(file):
                pass
        finally:
            file.follower.close()


def _has_more(file: _File) -> bool:
    return file.follower.unread_bytes() >= _LITTLE_BYTES


def _rotated(chunks: Iterable[Chunk]) -> bool:
    return any(each.gap is not None and each.gap.cause is GapCause.ROTATED for each in chunks)
