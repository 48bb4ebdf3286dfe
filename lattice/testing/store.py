"""A store in memory that keeps Postgres' rules: read committed, row locks, version guards, unique rules, locks by name.

    database = MemoryDatabase()
    first, second = MemoryStore(database), MemoryStore(database)   # two processes on one database

`database.away = True` takes the database away; `store.lose_connection()` drops the named locks of one process.  Foreign keys are not
checked.  Every operation gives other tasks a turn, as one that goes over a socket would: races show here, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lattice.storage import Transaction
from lattice.testing.store_transaction import MemoryDatabase, MemoryTransaction

__all__ = ["MemoryDatabase", "MemoryStore"]


class MemoryStore:
    """A `Store` of one pretended process."""

    def __init__(self, database: MemoryDatabase | None = None) -> None:
        self.database = database or MemoryDatabase()
        self._holds: dict[str, object] = {}

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Begin a unit of work."""
        unit = MemoryTransaction(self.database)
        try:
            yield unit
            await unit.commit()
        finally:
            await unit.end()

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncIterator[bool]:
        """Try to hold a lock of this name; yields whether it was got."""
        await self.database.reach()
        hold = object()
        got = self.database.held_names.setdefault(name, hold) is hold
        if got:
            self._holds[name] = hold
        try:
            yield got
        finally:
            self._release(name, hold)

    async def ready(self) -> str:
        """A readiness check."""
        return "The database is away." if self.database.away else ""

    def lose_connection(self) -> None:
        """As if the connection broke: what was held is free for others, and the holders are not told."""
        for name, hold in tuple(self._holds.items()):
            self._release(name, hold)

    async def close(self) -> None:
        """Give up everything."""
        self.lose_connection()

    def _release(self, name: str, hold: object) -> None:
        if self.database.held_names.get(name) is hold:
            del self.database.held_names[name]
            del self._holds[name]
