"""Follows the store for one sink: what is stored is sent, at least once, in the order of time of each container, with little in memory.

Nobody waits for it: blocks are read from the disk when the sink has room for them, so a sink that is slow or away costs nothing but the time
until it has caught up.  What the retention lets go before is lost to the sink; that is counted and said.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from loguru import logger

from lattice.background import pause_s
from lattice.clock import Clock
from lattice.errors import Invalid, LatticeError
from services.logs import metrics
from services.logs.exporting.batches import Batch, Limits, Pending, batches
from services.logs.exporting.cursor import Cursor
from services.logs.exporting.following import Following
from services.logs.exporting.senders import Sender
from services.logs.exporting.sinks import Kind, Sink
from services.logs.index import Index, StoredBlock, container_of
from services.logs.segments import Damaged

FOLDER = "_exports"
_SAVED_EVERY_S = 1.0
_LONGEST_PAUSE_S = 60.0
_REQUEST, _OBJECT = Limits(2_000, 2**20), Limits(50_000, 8 * 2**20)
_NS = 10**9


class Exporter:
    """Of one sink; `run` is its loop."""

    def __init__(
        self,
        index: Index,
        sink: Sink,
        connect: Callable[[], Sender],
        clock: Clock,
        folder: Path,
        *,
        read: Callable[[StoredBlock], bytes],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._index, self._sink, self._connect, self._clock, self._chance = (
            index,
            sink,
            connect,
            clock,
            chance,
        )
        self._records_of = read
        self._cursor = Cursor(folder / FOLDER / f"{sink.name}.json")
        self._following = Following(index, sink, self._cursor)
        self._saved_s = clock.monotonic_s()
        self._oldest_ns: int | None = None

    @property
    def name(self) -> str:
        """The sink's."""
        return self._sink.name

    async def run(self) -> None:
        """Send for ever."""
        sender = self._connect()
        try:
            while True:
                await self._send_what_is_new(sender)
                await self._save()
                self._tell_lag(())
                await asyncio.sleep(self._sink.pause_s)
        finally:
            self._save_at_the_end()
            await sender.close()

    def let_go(self, blocks: Iterable[StoredBlock]) -> None:
        """These are about to be removed."""
        lost = list(self._following.lost_with(blocks))
        if lost:
            lines = sum(last - first + 1 for _, ranges in lost for first, last in ranges)
            metrics.EXPORT_LOST.labels(self._sink.name, "retention").inc(lines)
            logger.warning("{} lines were let go before {} had them", lines, self._sink.name)
            self._cursor.advance(_done(lost))

    async def _send_what_is_new(self, sender: Sender) -> None:
        for key, state in self._following.changed():
            pending = self._following.pending(key)
            self._tell_lag(pending)
            await self._send_all(sender, pending)
            self._following.looked_through(key, state)

    async def _send_all(self, sender: Sender, pending: Sequence[Pending]) -> None:
        coming = batches(pending, self._read, _OBJECT if self._sink.kind is Kind.S3 else _REQUEST)
        while (batch := await asyncio.to_thread(next, coming, None)) is not None:
            await self._send(sender, batch)
            self._cursor.advance(batch.done)
            if self._clock.monotonic_s() - self._saved_s >= _SAVED_EVERY_S:
                await self._save()

    async def _send(self, sender: Sender, batch: Batch) -> None:
        """Until the sink has it, or says that it will never take it."""
        failures = 0
        while batch.lines:
            try:
                await sender.send(batch.lines)
                metrics.EXPORTED.labels(self._sink.name).inc(len(batch.lines))
                return
            except Invalid as error:
                metrics.EXPORT_LOST.labels(self._sink.name, "refused").inc(len(batch.lines))
                logger.warning("{} refuses {} lines: {}", self._sink.name, len(batch.lines), error.detail)
                return
            except LatticeError as error:
                failures += 1
                await self._wait(failures, error)

    async def _wait(self, failures: int, error: LatticeError) -> None:
        metrics.EXPORT_FAILURES.labels(self._sink.name).inc()
        self._show_lag()
        wait_s = pause_s(failures, self._chance(), at_most_s=_LONGEST_PAUSE_S)
        logger.warning("{} is tried again in {:.1f} s: {}", self._sink.name, wait_s, error.detail)
        await asyncio.sleep(wait_s)

    async def _save(self) -> None:
        self._saved_s = self._clock.monotonic_s()
        if not self._cursor.is_saved:
            self._cursor.keep_only(self._index.sources())
            content, self._cursor.is_saved = self._cursor.content(), True
            await asyncio.to_thread(self._cursor.save, content)

    def _save_at_the_end(self) -> None:
        """What is not saved is sent once more: nothing that an end should fail for."""
        try:
            self._cursor.save(self._cursor.content())
        except OSError as error:
            logger.warning("what {} has cannot be written: {}", self._sink.name, error)

    def _tell_lag(self, pending: Sequence[Pending]) -> None:
        """For how long the oldest of these has been waiting."""
        self._oldest_ns = min((block.header.stored_at_ns for block, _ in pending), default=None)
        self._show_lag()

    def _show_lag(self) -> None:
        now_s = self._clock.now().timestamp()
        lag_s = 0.0 if self._oldest_ns is None else max(now_s - self._oldest_ns / _NS, 0)
        metrics.EXPORT_LAG.labels(self._sink.name).set(lag_s)

    def _read(self, block: StoredBlock) -> bytes | None:
        """None for what was let go meanwhile (who lets it go counts it) or rewritten: it is found again."""
        try:
            return self._records_of(block)
        except FileNotFoundError:
            return None
        except (Damaged, Invalid) as error:
            first, last = block.lines
            metrics.EXPORT_LOST.labels(self._sink.name, "damaged").inc(last - first + 1)
            logger.warning("{} does not get a block: {}", self._sink.name, error)
            return b""


def _done(pending: Iterable[Pending]) -> Iterable[tuple[tuple[str, str], tuple[int, int]]]:
    return ((container_of(block.header.block), lines) for block, ranges in pending for lines in ranges)
