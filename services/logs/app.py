"""Builds the log store: it takes blocks in, answers queries, and lets go what is too old or too much.

`Logs` takes a bus, whichever it is, so that tests run it in memory; `build` makes the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from loguru import logger

from lattice.background import Background
from lattice.bus import NatsBus
from lattice.clock import Clock, SystemClock
from lattice.contracts.catalogue import COUNT_LOGS, LIST_LOGS, LOG_BLOCK, LOGS_HELD, QUERY_LOGS, SERVICE_LOG
from lattice.contracts.streams import LOGS_BY_LOGS, OWN_LOGS_BY_LOGS
from lattice.instance_owners import Owners
from lattice.messaging import Bus, Subscription
from lattice.own_logs import OwnLogs
from lattice.own_metrics import OwnMetrics
from lattice.process import Checks
from services.logs import metrics
from services.logs.confirming import Confirmer
from services.logs.exporting.exporter import Exporter
from services.logs.exporting.senders import sender_for
from services.logs.handlers import Handlers
from services.logs.object_store import ObjectStore
from services.logs.packing import Packer
from services.logs.querying import Querying
from services.logs.reading import Reader
from services.logs.retention import Limits, Policy, removals
from services.logs.settings import LogsSettings
from services.logs.store import LogStore
from services.logs.tier import Tier
from services.logs.tiering import TierPolicy
from services.logs.writer import Writer

# So many blocks may wait for the disk at once: they share an fsync.  A flood of them, each of 100 KiB or so, is held in memory.
_BLOCKS_AT_ONCE = 128


class Logs:
    """One process; `start` makes it serve, its loops run in the `Background` that it is given."""

    def __init__(self, settings: LogsSettings, bus: Bus, clock: Clock | None = None) -> None:
        self._settings = settings
        self._bus = bus
        self._clock = clock or SystemClock()
        self._policy = Policy(settings.max_age_s, settings.max_bytes_per_project)
        self.store = LogStore(settings.data_dir, Limits(settings.segment_bytes, settings.segment_age_s))
        self._confirmer = Confirmer(bus, self.store.index)
        self._writer = Writer(self.store, self._clock, self._confirmer)
        self._packer = Packer(self.store, self._clock, self._writer.alone, settings.pack_every_s)
        self._tier = self._open_tier(settings)
        reader = Reader(self.store.index, self._tier.read_body if self._tier else None)
        self._querying = Querying(self.store.index, self._clock, reader)
        self._exporters = [
            Exporter(
                self.store.index,
                sink,
                partial(sender_for, sink),
                self._clock,
                settings.data_dir,
                read=reader.records,
            )
            for sink in settings.exports
        ]
        self._subscriptions: list[Subscription] = []
        for found in self.store.damage:
            metrics.DAMAGED.inc()
            what = "a torn end, cut off" if found.cut else "damage, left out"
            logger.warning(
                "{}: {} ({} bytes at {})", found.path, what, found.damage.size, found.damage.offset
            )

    async def start(self, background: Background) -> None:
        """Take blocks, answer queries and nodes."""
        owners = Owners(self._bus, self._clock)
        handlers = Handlers(self._writer, owners, self._confirmer)
        background.start("log-writer", self._writer.run)
        background.start("log-retention", self._retain)
        background.start("log-packer", self._packer.run)
        if self._tier is not None:
            background.start("log-tier", partial(self._tier.run, self._settings.tier_every_s))
        for exporter in self._exporters:
            background.start(f"log-export {exporter.name}", exporter.run)
        self._subscriptions.append(await self._bus.serve(QUERY_LOGS, self._querying.query))
        self._subscriptions.append(await self._bus.serve(COUNT_LOGS, self._querying.count))
        self._subscriptions.append(await self._bus.serve(LIST_LOGS, self._querying.list_logs))
        self._subscriptions.append(await self._bus.subscribe(LOGS_HELD, self._confirmer.answer))
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
        await self._packer.stop()
        self._querying.close()
        self.store.close()

    def _open_tier(self, settings: LogsSettings) -> Tier | None:
        if settings.tier_url is None:
            return None
        policy = TierPolicy(settings.tier_local_age_s, settings.tier_local_bytes)
        objects = ObjectStore(settings.tier_url)
        return Tier(objects, self.store, policy, self._clock, self._writer.alone)

    async def _retain(self) -> None:
        while True:
            await self._let_go()
            await asyncio.sleep(self._settings.retention_every_s)

    async def _let_go(self) -> None:
        """Let go what is too old or too much, first in the object store: what is there is known by its index here."""
        now_ns = int(self._clock.now().timestamp() * 10**9)
        for removal in removals(self.store.kept(), self._policy, now_ns):
            logger.info("letting {} go: {}", removal.path, removal.reason)
            if self._tier is not None:
                await self._tier.delete(removal.path)
            async with self._writer.alone:
                blocks = self.store.index.blocks_in({removal.path})
                for exporter in self._exporters:
                    exporter.let_go(blocks)
                self.store.remove([removal])
        metrics.KEPT_BYTES.set(sum(kept.size_bytes for kept in self.store.kept()))


@asynccontextmanager
async def build(settings: LogsSettings) -> AsyncIterator[Checks]:
    """The log store on NATS."""
    async with NatsBus(settings.bus, identity="logs") as bus, Background() as background:
        background.start("own-logs", OwnLogs.of_service("logs", bus).run)
        background.start("own-metrics", OwnMetrics("logs", bus).run)
        logs = Logs(settings, bus)
        await logs.start(background)
        try:
            yield {"bus": bus.ready}
        finally:
            await logs.stop()
