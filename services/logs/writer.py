"""Group commit: blocks that arrive while others are being written are written together, with one fsync per workload; then their nodes are
told, of all of them at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lattice.clock import Clock
from lattice.errors import Invalid, Temporary
from services.logs.confirming import Confirmer
from services.logs.store import Incoming, LogStore, Outcome

# A batch ends here, so that the first of it need not wait for ever.
_MOST_BLOCKS = 1024


class Writer:
    """`store` returns when a block is on disk; `run` does the writing."""

    def __init__(self, store: LogStore, clock: Clock, confirmer: Confirmer) -> None:
        self._store = store
        self._confirmer = confirmer
        self._clock = clock
        self._waiting: list[tuple[Incoming, asyncio.Future[Outcome]]] = []
        self._arrived = asyncio.Event()
        # Held while segments are written; whoever lets segments go holds it, too.
        self.alone = asyncio.Lock()

    async def store(self, incoming: Incoming) -> Outcome:
        """Wait until the block is on disk, or was there already.  Raises Invalid for a block that is not one."""
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((incoming, done))
        self._arrived.set()
        outcome = await done
        if outcome.error is not None:
            raise outcome.error
        return outcome

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST_BLOCKS], self._waiting[_MOST_BLOCKS:]
                async with self.alone:
                    await self._write([incoming for incoming, _ in batch], [done for _, done in batch])

    async def _write(self, batch: Sequence[Incoming], waiting: Sequence[asyncio.Future[Outcome]]) -> None:
        now_ns = int(self._clock.now().timestamp() * 10**9)
        try:
            outcomes = await asyncio.to_thread(self._store.write, batch, now_ns)
        except BaseException:
            failed = Temporary("The log store failed: try again.")
            _settle(waiting, [Outcome(incoming.block, error=failed) for incoming in batch])
            raise
        self._store.learn(outcomes)
        _settle(waiting, outcomes)
        await self._confirm(outcomes)

    async def _confirm(self, outcomes: Sequence[Outcome]) -> None:
        """What could not be written now is neither stored nor refused: it comes again."""
        stored = [outcome.block for outcome in outcomes if outcome.error is None]
        refused = [outcome.block for outcome in outcomes if isinstance(outcome.error, Invalid)]
        await self._confirmer.stored(stored)
        await self._confirmer.refused(refused)


def _settle(waiting: Sequence[asyncio.Future[Outcome]], outcomes: Sequence[Outcome]) -> None:
    for done, outcome in zip(waiting, outcomes, strict=True):
        if not done.done():
            done.set_result(outcome)
