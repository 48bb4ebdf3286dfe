"""Builds the alerts service: its watch, what it tells, and its answers to people.

`AlertsService` takes a bus and a store, whichever they are, so that tests run it in memory; `build` makes the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from loguru import logger

from lattice.background import Background
from lattice.bus import NatsBus
from lattice.clock import Clock, SystemClock
from lattice.contracts.catalogue import FACT
from lattice.contracts.messages import Fact
from lattice.envelope import MasterKeys, ensure_master_keys
from lattice.errors import Temporary
from lattice.ids import NewId, new_id
from lattice.messaging import Bus, Received
from lattice.migrations import upgrade_when_there
from lattice.own_logs import OwnLogs
from lattice.own_metrics import OwnMetrics
from lattice.postgres import open_store
from lattice.process import Checks
from lattice.storage import Store
from services.alerts import store as queries
from services.alerts.change import Deps, Pages
from services.alerts.delivering import Delivery
from services.alerts.handlers import serve_all
from services.alerts.sending import RealSender, Sender
from services.alerts.settings import AlertsSettings
from services.alerts.sink_vault import SinkVault
from services.alerts.sinks import SinkDeps
from services.alerts.tables import MIGRATIONS
from services.alerts.telling import Teller, keep_watchdog
from services.alerts.watching import Watch

# Alerts that are over are kept as long as their stream keeps what was told of them.
KEPT = timedelta(days=30)
_TIDY_EVERY_S = 3600.0


class AlertsService:
    """One replica: `start` makes it listen and answer, its loops run in the `Background` that it is given."""

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        keys: MasterKeys,
        sender: Sender | None = None,
        clock: Clock | None = None,
        ids: NewId = new_id,
        pages: Pages | None = None,
        look_every_s: float = 5.0,
        watchdog_every_s: float = 60.0,
    ) -> None:
        self._bus = bus
        self._watchdog_every_s = watchdog_every_s
        clock = clock or SystemClock()
        self.deps = Deps(store, clock.now, ids, pages or Pages(), self._committed, self._look)
        self.watch = Watch(self.deps, bus, look_every_s=look_every_s, monotonic_s=clock.monotonic_s)
        self.teller = Teller(self.deps, bus)
        vault, sender = SinkVault(keys), sender or RealSender()
        self.sinks = SinkDeps(self.deps, vault, sender)
        self.delivery = Delivery(self.deps, vault, sender, is_watching=self.watch.is_watching)

    async def start(self, background: Background) -> None:
        """Listen, answer and loop."""
        await self.serve()
        await self._bus.subscribe(FACT, self._heard)
        background.start("watch", self.watch.run)
        background.start("teller", self.teller.run)
        background.start("delivery", self.delivery.run)
        background.start("watchdog", self._keep_watchdog)
        background.start("tidy", self._tidy)

    async def serve(self) -> None:
        """Answer people."""
        await serve_all(self._bus, self.deps, self.sinks)

    async def _heard(self, _: Received[Fact]) -> None:
        self.watch.wake()

    def _committed(self) -> None:
        self.teller.wake()
        self.delivery.wake()

    def _look(self) -> None:
        self.watch.wake()

    async def _keep_watchdog(self) -> None:
        await keep_watchdog(self.deps, self._bus, every_s=self._watchdog_every_s)

    async def _tidy(self) -> None:
        """Forget what has been over for long."""
        while True:
            try:
                async with self.deps.store.transaction() as tx:
                    await queries.forget_before(tx, self.deps.now() - KEPT)
            except Temporary as error:
                logger.warning("old alerts stay for now: {}", error.detail)
            await asyncio.sleep(_TIDY_EVERY_S)


@asynccontextmanager
async def build(settings: AlertsSettings) -> AsyncIterator[Checks]:
    """The alerts service on NATS and Postgres."""
    await upgrade_when_there(settings.database.url, MIGRATIONS)
    async with (
        open_store(settings.database) as store,
        NatsBus(settings.bus, identity="alerts") as bus,
        Background() as background,
    ):
        background.start("own-logs", OwnLogs.of_service("alerts", bus).run)
        background.start("own-metrics", OwnMetrics("alerts", bus).run)
        service = AlertsService(
            store=store,
            bus=bus,
            keys=ensure_master_keys(settings.key_dir),
            pages=Pages(runbook=settings.runbook_url, dashboard=settings.dashboard_url),
            look_every_s=settings.look_every_s,
            watchdog_every_s=settings.watchdog_every_s,
        )
        await service.start(background)
        yield {"bus": bus.ready, "database": store.ready}
