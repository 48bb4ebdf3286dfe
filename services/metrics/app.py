"""Builds the gatherer of metrics: it hears nodes and services, keeps the newest and a day of it, and answers.

`Metrics` takes a bus, whichever it is, so that tests run it in memory; `build` makes the real one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from lattice.background import Background
from lattice.bus import NatsBus
from lattice.clock import Clock, SystemClock
from lattice.contracts.catalogue import (
    LIST_METRIC_SOURCES,
    LIST_STRAINS,
    NODE_METRICS,
    QUERY_METRICS,
    READ_METRICS,
    READ_STATS,
    SERVICE_METRICS,
)
from lattice.contracts.messages import ListTroubles, Troubles
from lattice.errors import Temporary
from lattice.instance_owners import Owners
from lattice.messaging import Bus, Subscription
from lattice.own_directory import take_directory
from lattice.own_logs import OwnLogs
from lattice.own_metrics import OwnMetrics
from lattice.process import Checks
from services.metrics import metrics
from services.metrics.errors import LoggedErrors
from services.metrics.handlers import Handlers
from services.metrics.history import History
from services.metrics.history_files import HistoryFiles
from services.metrics.newest import Newest
from services.metrics.querying import Querying
from services.metrics.settings import MetricsSettings
from services.metrics.strains import strains

_MINUTE_S = 60.0
# Everybody speaks every 15 s.
_HEARS_ALL_AFTER_S = 40.0
# Older than this is nobody's state of this minute: three messages are missing.
_FRESH = timedelta(seconds=50)


class Metrics:
    """One process; `start` makes it serve, its loop runs in the `Background` that it is given."""

    def __init__(self, settings: MetricsSettings, bus: Bus, clock: Clock | None = None) -> None:
        self._bus, self._clock = bus, clock or SystemClock()
        self._directory = take_directory(settings.data_dir)
        self.newest = Newest()
        self.history = History(
            HistoryFiles(settings.data_dir, most_bytes=settings.most_bytes),
            most_series=settings.most_series,
        )
        self._errors = LoggedErrors()
        self._began_s = self._clock.monotonic_s()
        self._querying = Querying(self.newest, self.history)
        self._subscriptions: list[Subscription] = []

    async def start(self, background: Background) -> None:
        """Know again what is on the disk; then hear and answer."""
        await asyncio.to_thread(self.history.load, self._clock.now())
        handlers = Handlers(self.newest, Owners(self._bus, self._clock), self._clock, self._errors)
        self._subscriptions = [
            await self._bus.subscribe(NODE_METRICS, handlers.take_node),
            await self._bus.subscribe(SERVICE_METRICS, handlers.take_service),
            await self._bus.serve(LIST_METRIC_SOURCES, self._querying.list_sources),
            await self._bus.serve(READ_METRICS, self._querying.read),
            await self._bus.serve(QUERY_METRICS, self._querying.query),
            await self._bus.serve(READ_STATS, self._querying.stats),
            await self._bus.serve(LIST_STRAINS, self._list_strains),
        ]
        background.start("history", self._keep_history)

    async def _list_strains(self, request: ListTroubles) -> Troubles:
        """Everything that is too much now; who has just begun to listen does not know."""
        if self._clock.monotonic_s() - self._began_s < _HEARS_ALL_AFTER_S:
            raise Temporary(
                "Metrics are gathered anew and not everybody was heard yet: ask again in a minute."
            )
        return Troubles(items=tuple(strains(self.newest.all(), self._errors, self._clock.now())))

    async def stop(self) -> None:
        """Hear no more, and give the directory back."""
        for subscription in reversed(self._subscriptions):
            await subscription.stop()
        os.close(self._directory)

    async def keep_minute(self) -> None:
        """What was heard lately becomes a minute of the history."""
        now = self._clock.now()
        pairs = self.newest.all()
        await self.history.add(now, [pair.newest for pair in pairs if now - pair.newest.heard_at < _FRESH])
        self.newest.forget_silent(now)
        for kind in ("node", "service"):
            metrics.SOURCES.labels(kind).set(self.newest.count(kind))

    async def _keep_history(self) -> None:
        while True:
            await asyncio.sleep(_MINUTE_S - self._clock.now().timestamp() % _MINUTE_S)
            await self.keep_minute()


@asynccontextmanager
async def build(settings: MetricsSettings) -> AsyncIterator[Checks]:
    """The gatherer on NATS."""
    async with NatsBus(settings.bus, identity="metrics") as bus, Background() as background:
        background.start("own-logs", OwnLogs.of_service("metrics", bus).run)
        background.start("own-metrics", OwnMetrics("metrics", bus).run)
        gathering = Metrics(settings, bus)
        await gathering.start(background)
        try:
            yield {"bus": bus.ready}
        finally:
            await gathering.stop()
