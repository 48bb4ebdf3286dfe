"""The store on Postgres: see `storage.Store`.

    store = PostgresStore(settings)       # connects when it is first used
    async with store.transaction() as tx:
        ...
    await store.close()

Its parts: `postgres_rows` knows the tables, `postgres_changes` collects what a transaction writes, `postgres_writes` and
`postgres_queries` turn it into SQL, `postgres_errors` says what went wrong.  The driver is used directly: a unit of work of an ORM session
costs 100-200 µs and a round trip per table on top (`bench/store_commit.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from lattice.errors import Temporary
from lattice.postgres_connections import Connections
from lattice.postgres_locks import SessionLocks
from lattice.postgres_transaction import PostgresTransaction
from lattice.postgres_vitals import PostgresVitals, look
from lattice.settings import DatabaseSettings
from lattice.storage import Transaction


class PostgresStore:
    """A `Store` of one process."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._connections = Connections(settings)
        self._locks = SessionLocks(self._connections)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Begin a unit of work."""
        unit = PostgresTransaction(self._connections)
        try:
            yield unit
            await unit.commit()
        finally:
            await unit.end()

    def exclusive(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Try to hold a lock of this name; yields whether it was got."""
        return self._locks.try_hold(name)

    async def ready(self) -> str:
        """A readiness check: why the database cannot be used, in plain words, or ""."""
        try:
            await self._connections.check()
        except Temporary as error:
            return error.detail
        return ""

    async def vitals(self) -> PostgresVitals:
        """How the database fares.  Raises Temporary when it is away."""
        return await look(self._connections)

    async def close(self) -> None:
        """Close every connection."""
        await self._locks.close()
        await self._connections.close()


@asynccontextmanager
async def open_store(settings: DatabaseSettings) -> AsyncIterator[PostgresStore]:
    """A store that is closed at the end of the block."""
    store = PostgresStore(settings)
    try:
        yield store
    finally:
        await store.close()
