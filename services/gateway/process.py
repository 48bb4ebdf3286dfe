"""The gateway on NATS and Postgres, behind its HTTPS listener."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lattice.background import Background
from lattice.bus import NatsBus
from lattice.clock import SystemClock
from lattice.migrations import upgrade_when_there
from lattice.own_logs import OwnLogs
from lattice.own_metrics import OwnMetrics
from lattice.postgres import PostgresStore
from lattice.process import Checks
from services.gateway.app import create_app
from services.gateway.context import Gateway
from services.gateway.housekeeping import keep_operator
from services.gateway.listener import listening
from services.gateway.settings import GatewaySettings
from services.gateway.tables import MIGRATIONS


@asynccontextmanager
async def build(settings: GatewaySettings) -> AsyncIterator[Checks]:
    """Serve while the block runs.  A database that is away is waited for; the bus comes and goes by itself."""
    await upgrade_when_there(settings.database.url, MIGRATIONS)
    store = PostgresStore(settings.database)
    try:
        async with NatsBus(settings.bus, identity="gateway") as bus, Background() as background:
            background.start("own-logs", OwnLogs.of_service("gateway", bus).run)
            background.start("own-metrics", OwnMetrics("gateway", bus).run)
            app = create_app(settings, bus, store, SystemClock())
            # Before the port opens: who finds it open also finds the operator's token valid.
            gateway: Gateway = app.state.gateway
            await keep_operator(gateway)
            async with listening(app, settings, end_streams=gateway.streams.end_all):
                yield {"bus": bus.ready, "database": store.ready}
    finally:
        await store.close()
