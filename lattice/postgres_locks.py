"""Locks by name that outlive a unit of work: Postgres' advisory locks on one connection that is kept for them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from lattice.postgres_connections import BROKEN, Connections
from lattice.postgres_errors import translated

if TYPE_CHECKING:
    from lattice.postgres_connections import Connection


def lock_key(name: str) -> int:
    """The number by which Postgres knows a lock; the same in every process and release."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


class SessionLocks:
    """The locks that one process holds.  They are lost with the connection, whose loss the server sees at once or by keep-alive."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._connection: Connection | None = None
        self._one_at_a_time = asyncio.Lock()
        # One connection may take a lock twice, so within the process we keep the books ourselves.
        self._held: set[str] = set()

    @asynccontextmanager
    async def try_hold(self, name: str) -> AsyncIterator[bool]:
        """Hold the lock for the block if it is free now; yields whether it was got."""
        if name in self._held:
            yield False
            return
        self._held.add(name)
        try:
            connection = await self._try_lock(name)
            try:
                yield connection is not None
            finally:
                if connection is not None:
                    await self._unlock(connection, name)
        finally:
            self._held.discard(name)

    async def close(self) -> None:
        """Give up everything."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _try_lock(self, name: str) -> Connection | None:
        async with self._one_at_a_time:
            connection = await self._connected()
            with translated():
                got = await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock_key(name))
            return connection if got else None

    async def _unlock(self, connection: Connection, name: str) -> None:
        async with self._one_at_a_time:
            try:
                if not connection.is_closed():
                    await connection.execute(f"SELECT pg_advisory_unlock({lock_key(name)})")
            except BROKEN:
                connection.terminate()

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connections.connect()
        return self._connection
