"""Packs closed segments in the background, one at a time."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from loguru import logger

from lattice.clock import Clock
from services.logs import metrics
from services.logs.compaction import lowest_priority
from services.logs.store import LogStore


class Packer:
    """`run` packs for ever; `alone` is held while the store changes."""

    def __init__(self, store: LogStore, clock: Clock, alone: asyncio.Lock, every_s: float) -> None:
        self._store = store
        self._clock = clock
        self._alone = alone
        self._every_s = every_s
        self._thread = ThreadPoolExecutor(1, "pack", initializer=lowest_priority)
        self._stopped = threading.Event()
        self._packing = asyncio.Lock()

    async def run(self) -> None:
        """Look for closed segments, and pack them."""
        while not self._stopped.is_set():
            async with self._packing:
                found = await self.pack_next()
            if not found:
                await asyncio.sleep(self._every_s)

    async def pack_next(self) -> bool:
        """Pack one segment; whether there was one."""
        async with self._alone:
            closed = self._store.close_next(int(self._clock.now().timestamp() * 10**9))
        if closed is None or self._stopped.is_set():
            return False
        segment, blocks = closed
        loop = asyncio.get_running_loop()
        packed = await loop.run_in_executor(self._thread, self._store.pack, segment, blocks, self._stopped)
        if packed is not None:
            async with self._alone:
                await asyncio.to_thread(self._store.packed, segment, packed)
            metrics.PACKED.inc()
            logger.debug(
                "{}: {} blocks became {}, {} bytes {}",
                packed.segment.path, len(blocks), len(packed.blocks), segment.size_bytes, packed.segment.size_bytes,
            )  # fmt: skip
        return True

    async def stop(self) -> None:
        """Leave the segment that is being packed as it is; nothing is written any more when this returns."""
        self._stopped.set()
        async with self._packing:
            self._thread.shutdown()
