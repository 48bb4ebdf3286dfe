"""A unit of work on Postgres.

Nothing is begun before it is needed: at Postgres' own isolation level (read committed) a read outside of a transaction sees what it would
see inside, so a unit without locks that fits one statement is committed by that statement alone, in one round trip instead of three.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
from sqlmodel import SQLModel

from lattice.errors import StaleVersion, Temporary
from lattice.postgres_changes import Changes, stale
from lattice.postgres_errors import translated
from lattice.postgres_locks import lock_key
from lattice.postgres_queries import Query, count_query, find_query, get_query
from lattice.postgres_rows import TableShape, shape_of
from lattice.postgres_writes import Statement, statements

if TYPE_CHECKING:
    from lattice.postgres_connections import Connections, PooledConnection

R = TypeVar("R", bound=SQLModel)
T = TypeVar("T")
_INTERRUPTED = "A statement was interrupted, so its transaction cannot be committed."


class PostgresTransaction:
    """See `storage.Transaction`.  After an error it cannot go on: its end raises that error again."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._connection: PooledConnection | None = None
        self._begun = False
        self._failure: Exception | None = None
        self._changes = Changes()
        self._one_at_a_time = asyncio.Lock()

    async def get(self, table: type[R], key: Any, *, lock: bool = False) -> R | None:
        shape = shape_of(table)
        rows = await self._read(shape, get_query(shape, key, lock=lock), lock=lock)
        return rows[0] if rows else None

    async def find(
        self,
        table: type[R],
        *,
        order_by: Sequence[str] = ("id",),
        limit: int | None = None,
        lock: bool = False,
        skip_locked: bool = False,
        **where: Any,
    ) -> list[R]:
        shape, locking = shape_of(table), lock or skip_locked
        query = find_query(
            shape, where, order_by=order_by, limit=limit, lock=locking, skip_locked=skip_locked
        )
        return await self._read(shape, query, lock=locking)

    async def count(self, table: type[R], **where: Any) -> int:
        shape = shape_of(table)
        await self._flush_if_touched(shape)
        query = count_query(shape, where)
        records = await self._fetch(query.sql, query.arguments)
        return int(records[0][0])

    def add(self, row: R) -> R:
        return self._changes.add(row)

    def update(self, row: R, **changes: Any) -> R:
        return self._changes.update(row, changes)

    def delete(self, row: R) -> None:
        self._changes.delete(row)

    async def flush(self) -> None:
        pending = self._take_pending()
        if pending:
            await self._begin()
            for statement in pending:
                await self._write(statement)

    async def lock(self, name: str) -> None:
        await self._begin()
        await self._fetch("SELECT pg_advisory_xact_lock($1)", (lock_key(name),))

    async def commit(self) -> None:
        """Write what is pending and make it last."""
        if self._failure is not None:
            raise self._failure
        pending = self._take_pending()
        if len(pending) > 1:
            await self._begin()
        for statement in pending:
            await self._write(statement)
        if self._begun:
            await self._execute("COMMIT")
            self._begun = False

    async def end(self) -> None:
        """Undo what was not committed and give the connection back."""
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        await self._connections.give_back(connection, roll_back=self._begun)

    async def _read(self, shape: TableShape[R], query: Query, *, lock: bool) -> list[R]:
        await self._flush_if_touched(shape)
        if lock:
            await self._begin()
        records = await self._fetch(query.sql, query.arguments)
        return [shape.make(record) for record in records]

    async def _flush_if_touched(self, shape: TableShape[Any]) -> None:
        if self._changes.touch(shape):
            await self.flush()

    def _take_pending(self) -> list[Statement]:
        pending = statements(self._changes)
        self._changes.clear()
        return pending

    async def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            await self._execute("BEGIN")

    async def _write(self, statement: Statement) -> None:
        try:
            await self._fetch(statement.sql, statement.arguments)
        except StaleVersion as error:
            self._failure = StaleVersion(stale(statement.guarded), data={"tables": list(statement.guarded)})
            raise self._failure from error

    async def _execute(self, sql: str) -> None:
        await self._use(lambda connection: connection.execute(sql))

    async def _fetch(self, sql: str, arguments: Sequence[Any]) -> list[asyncpg.Record]:
        return await self._use(lambda connection: connection.fetch(sql, *arguments))

    async def _use(self, statement: Callable[[PooledConnection], Awaitable[T]]) -> T:
        """Run one statement at a time.

        Postgres answers COMMIT of a failed transaction with a silent roll-back, so what failed is remembered here.
        """
        try:
            async with self._one_at_a_time:
                if self._connection is None:
                    self._connection = await self._connections.take()
                with translated():
                    return await statement(self._connection)
        except BaseException as error:
            self._failure = error if isinstance(error, Exception) else Temporary(_INTERRUPTED)
            raise
