"""Connections to Postgres: opened when first needed, kept for the next unit of work, given back only in a clean state.

Nothing connects at start, so a service starts while the database is away and works as soon as it is there.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from lattice.errors import Temporary
from lattice.postgres_errors import translated
from lattice.settings import DatabaseSettings

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    PooledConnection: TypeAlias = PoolConnectionProxy[asyncpg.Record]

# What a connection that broke can raise when it is to be cleaned.
BROKEN = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
_CONNECT_TIMEOUT_S = 5.0
_SESSION = {
    "application_name": "lattice",
    "timezone": "UTC",
    "jit": "off",  # compiling costs more than any of our statements
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",  # a stuck process does not hold its locks for ever
    # A process that vanished without a word loses its locks within half a minute.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


class Connections:
    """The pool of one process."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._dsn = settings.url.replace("postgresql+asyncpg://", "postgresql://", 1)
        self._size = settings.pool_size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    @property
    def in_use(self) -> tuple[int, int]:
        """How many connections are used, and how many are kept for the next."""
        pool = self._pool
        return (pool.get_size() - pool.get_idle_size(), pool.get_idle_size()) if pool else (0, 0)

    async def take(self) -> PooledConnection:
        """A connection for one unit of work; Temporary when none is to be had in time."""
        pool = self._pool or await self._open_pool()
        with translated():
            try:
                return await pool.acquire(timeout=_CONNECT_TIMEOUT_S)
            except TimeoutError as error:
                raise Temporary(f"No database connection within {_CONNECT_TIMEOUT_S:g} s.") from error

    async def give_back(self, connection: PooledConnection, *, roll_back: bool) -> None:
        """End of the unit of work; a connection that cannot be cleaned is thrown away."""
        pool = self._pool
        assert pool is not None, "a connection came from somewhere"
        if roll_back:
            with suppress(*BROKEN):
                await connection.execute("ROLLBACK")
        with suppress(*BROKEN):  # what cannot be cleaned was closed by the pool
            await pool.release(connection)

    async def check(self) -> None:
        """Raise Temporary if the database does not answer."""
        connection = await self.take()
        try:
            with translated():
                await connection.execute("SELECT 1")
        finally:
            await self.give_back(connection, roll_back=False)

    async def connect(self) -> Connection:
        """A connection of its own, outside of the pool, for what outlives units of work."""
        with translated():
            connection: Connection = await asyncpg.connect(
                self._dsn, timeout=_CONNECT_TIMEOUT_S, server_settings=_SESSION
            )
            return connection

    async def close(self) -> None:
        """Close all connections; what is under way is cut off after a moment."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), _CONNECT_TIMEOUT_S)
        except TimeoutError:
            pool.terminate()

    async def _open_pool(self) -> asyncpg.Pool[asyncpg.Record]:
        async with self._opening:
            if self._pool is None:
                # Statements are few and fixed, so they stay prepared for the life of the connection.
                self._pool = await asyncpg.create_pool(
                    self._dsn,
                    min_size=0,
                    max_size=self._size,
                    timeout=_CONNECT_TIMEOUT_S,
                    server_settings=_SESSION,
                    statement_cache_size=1024,
                    max_cached_statement_lifetime=0,
                    max_cacheable_statement_size=0,
                    max_queries=2**62,
                    init=_teach_json,
                    reset=_keep,
                )
            return self._pool


async def _teach_json(connection: Any) -> None:
    """JSON columns are read as data; what is written is JSON text already."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=str, decoder=json.loads, schema="pg_catalog")


async def _keep(_connection: Any) -> None:
    """The driver's own clean-up costs a round trip per unit of work; a unit leaves nothing behind but what its end undid."""
