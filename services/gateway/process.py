"""The gateway on NATS and Postgres, behind its HTTPS listener."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loguru import logger

from lattice.bus import NatsBus
from lattice.clock import SystemClock
from lattice.errors import Temporary
from lattice.migrations import upgrade
from lattice.postgres import PostgresStore
from lattice.process import Checks
from services.gateway.app import create_app
from services.gateway.context import Gateway
from services.gateway.housekeeping import keep_operator
from services.gateway.listener import listening
from services.gateway.settings import GatewaySettings
from services.gateway.tables import MIGRATIONS

_RETRY_S = 1.0


@asynccontextmanager
async def build(settings: GatewaySettings) -> AsyncIterator[Checks]:
    """Serve while the block runs.  A database that is away is waited for; the bus comes and goes by itself."""
    await _migrated(settings)
    store = PostgresStore(settings.database)
    try:
        async with NatsBus(settings.bus, identity="gateway") as bus:
            app = create_app(settings, bus, store, SystemClock())
            # Before the port opens: who finds it open also finds the operator's token valid.
            gateway: Gateway = app.state.gateway
            await keep_operator(gateway)
            async with listening(app, settings, end_streams=gateway.streams.end_all):
                yield {"bus": bus.ready, "database": store.ready}
    finally:
        await store.close()


async def _migrated(settings: GatewaySettings) -> None:
    while True:
        try:
            await upgrade(settings.database.url, MIGRATIONS)
            return
        except Temporary as error:
            logger.warning("waiting for the database: {}", error)
            await asyncio.sleep(_RETRY_S)
