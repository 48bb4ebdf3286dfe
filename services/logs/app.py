"""Builds the log store: it takes blocks in, answers queries, and lets go what is too old or too much.

`Logs` takes a bus, whichever it is, so that tests run it in memory; `build` makes the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loguru import logger

from lattice.background import Background
from lattice.bus import NatsBus
from lattice.clock import Clock, SystemClock
from lattice.contracts.catalogue import LOG_BLOCK, LOGS_HELD, QUERY_LOGS, SERVICE_LOG
from lattice.contracts.streams import LOGS_BY_LOGS, OWN_LOGS_BY_LOGS
from lattice.messaging import Bus, Subscription
from lattice.own_logs import OwnLogs
from lattice.process import Checks
from services.logs import metrics
from services.logs.compacting import Closed, Compacting
from services.logs.confirming import Confirming
from services.logs.handlers import Handlers
from services.logs.owners import Owners
from services.logs.querying import Querying
from services.logs.retention import Policy, removals
from services.logs.settings import LogsSettings
from services.logs.store import Limits, LogStore
from services.logs.writer import Writer

# So many blocks may wait for the disk at once: they share an fsync.
_BLOCKS_AT_ONCE = 512


class Logs:
    """One process; `start` makes it serve, its loops run in the `Background` that it is given."""

    def __init__(self, settings: LogsSettings, bus: Bus, clock: Clock | None = None) -> None:
        self._settings = settings
        self._bus = bus
        self._clock = clock or SystemClock()
        self._policy = Policy(settings.max_age_s, settings.max_bytes_per_project)
        self.store = LogStore(settings.data_dir, Limits(settings.segment_bytes, settings.segment_age_s))
        self._writer = Writer(self.store, self._clock)
        closed = Closed(settings.segment_age_s)
        self._compacting = Compacting(
            self.store.index, self._writer, self._clock, closed, pause_s=settings.rewrite_every_s
        )
        self._querying = Querying(self.store.index, self._clock)
        self._subscriptions: list[Subscription] = []
        for found in self.store.damage:
            metrics.DAMAGED.inc()
            what = "a torn end, cut off" if found.cut else "damage, left out"
            logger.warning(
                "{}: {} ({} bytes at {})", found.path, what, found.damage.size, found.damage.offset
            )

    async def start(self, background: Background) -> None:
        """Take blocks, answer queries."""
        confirming = Confirming(self._bus, self.store.index)
        handlers = Handlers(self._writer, Owners(self._bus, self._clock), confirming)
        background.start("log-writer", self._writer.run)
        background.start("log-confirming", confirming.run)
        background.start("log-retention", self._retain)
        background.start("log-compacting", self._compacting.run)
        self._subscriptions.append(await self._bus.serve(QUERY_LOGS, self._querying.query))
        self._subscriptions.append(await self._bus.subscribe(LOGS_HELD, confirming.held))
        taking = await self._bus.consume(
            LOGS_BY_LOGS, LOG_BLOCK, handlers.take_block, concurrency=_BLOCKS_AT_ONCE
        )
        self._subscriptions.append(taking)
        own = await self._bus.consume(OWN_LOGS_BY_LOGS, SERVICE_LOG, handlers.take_own_block)
        self._subscriptions.append(own)

    async def stop(self) -> None:
        """Take no more, finish what was begun, give the directory back."""
        for subscription in reversed(self._subscriptions):
            await subscription.stop()
        self._querying.close()
        self.store.close()

    async def _retain(self) -> None:
        while True:
            async with self._writer.alone:
                self._let_go()
            await asyncio.sleep(self._settings.retention_every_s)

    def _let_go(self) -> None:
        """Let go what is too old or too much."""
        now_ns = int(self._clock.now().timestamp() * 10**9)
        going = removals(self.store.kept(), self._policy, now_ns)
        for removal in going:
            logger.info("letting {} go: {}", removal.path, removal.reason)
        self.store.remove(going)
        metrics.KEPT_BYTES.set(sum(kept.size_bytes for kept in self.store.kept()))


@asynccontextmanager
async def build(settings: LogsSettings) -> AsyncIterator[Checks]:
    """The log store on NATS."""
    async with NatsBus(settings.bus, identity="logs") as bus, Background() as background:
        background.start("own-logs", OwnLogs.of_service("logs", bus).run)
        logs = Logs(settings, bus)
        await logs.start(background)
        try:
            yield {"bus": bus.ready}
        finally:
            await logs.stop()
