"""Copies packed segments to the object store, lets local copies go, and reads from there what is here no more.

What the index knows stays on the local disk, so a search asks the object store for nothing but the blocks that it needs.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from loguru import logger

from lattice.clock import Clock
from services.logs import metrics
from services.logs.index import StoredBlock
from services.logs.object_store import ObjectStore
from services.logs.segments import PACKED, verified
from services.logs.store import LogStore
from services.logs.tiering import LocalCopy, TierPolicy, to_copy, to_drop


class Tier:
    """One object store behind one log store; `alone` is held while the log store changes."""

    def __init__(
        self, objects: ObjectStore, store: LogStore, policy: TierPolicy, clock: Clock, alone: asyncio.Lock
    ) -> None:
        self._objects = objects
        self._store = store
        self._policy = policy
        self._clock = clock
        self._alone = alone
        # Of a segment that is not among them the object store is asked first, so nothing is copied again after a start.
        self._copied: set[Path] = set()

    def read_body(self, block: StoredBlock) -> bytes:
        """The body of a block whose segment is not here.  Damaged, FileNotFoundError, or Temporary."""
        name = self._store.name_of(block.segment.path)
        return verified(block, self._objects.read(name, block.body_offset, block.body_size))

    async def run(self, every_s: float) -> None:
        """Copy and let go, for ever."""
        while True:
            await self.step()
            await asyncio.sleep(every_s)

    async def step(self) -> None:
        """Copy what is not there yet, then let go what need not be here."""
        for path in to_copy(self._local()):
            await asyncio.to_thread(self._copy, path)
        now_ns = int(self._clock.now().timestamp() * 10**9)
        for drop in to_drop(self._local(), self._policy, now_ns):
            async with self._alone:
                self._store.drop_local(drop.path)
            metrics.TIERED.labels("dropped").inc()
            logger.debug("the local copy of {} goes: {}", drop.path, drop.reason)

    async def delete(self, path: Path) -> None:
        """Let a segment's object go, before its index does.  Raises Temporary."""
        if path.suffix == PACKED:
            await asyncio.to_thread(self._objects.delete, self._store.name_of(path))
            self._copied.discard(path)

    def _local(self) -> list[LocalCopy]:
        return [
            LocalCopy(each.path, each.size_bytes, each.newest_ns, each.path in self._copied)
            for each in self._store.packed_here()
        ]

    def _copy(self, path: Path) -> None:
        name = self._store.name_of(path)
        try:
            size_bytes = path.stat().st_size
            if self._objects.size(name) != size_bytes:
                self._objects.put(path, name)
                metrics.TIERED.labels("copied").inc()
        except FileNotFoundError:
            return  # let go meanwhile
        if not path.exists():
            self._objects.delete(name)
            return
        self._copied.add(path)
