"""A unit of work in memory: see `storage.Transaction` and `postgres_transaction`, whose behaviour it copies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlmodel import SQLModel

from lattice.errors import StaleVersion, Temporary
from lattice.postgres_changes import Changes, Update, stale
from lattice.postgres_queries import full_order
from lattice.postgres_rows import TableShape, shape_of
from lattice.testing.store_locks import Locks
from lattice.testing.store_tables import Key, MemoryTable, Values, View, in_order, loaded, matching, stored

R = TypeVar("R", bound=SQLModel)


@dataclass
class MemoryDatabase:
    """What is committed, and who holds what.  `away` takes it away from everybody.

    With a `lock_order` (row classes), a unit of work that locks a row of an earlier class after one of a later class is a bug, and is told so.
    """

    tables: dict[TableShape[Any], MemoryTable[Any]] = field(default_factory=dict)
    locks: Locks = field(default_factory=Locks)
    held_names: dict[str, object] = field(default_factory=dict)
    away: bool = False
    lock_order: tuple[type[SQLModel], ...] = ()

    def lock_rank(self, shape: TableShape[Any]) -> int | None:
        """Where this table stands in the order of locks; None for one that is not in it."""
        ranks = {shape_of(table): rank for rank, table in enumerate(self.lock_order)}
        return ranks.get(shape)

    def table(self, shape: TableShape[R]) -> MemoryTable[R]:
        """The committed rows of a table."""
        if (found := self.tables.get(shape)) is None:
            found = self.tables[shape] = MemoryTable(shape)
        return found

    async def reach(self) -> None:
        """Give others a turn, then go on if the database is there."""
        await asyncio.sleep(0)
        if self.away:
            raise Temporary("The database is away.")


class MemoryTransaction:
    """After an error it cannot go on: its end raises that error again."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._views: dict[TableShape[Any], View[Any]] = {}
        self._changes = Changes()
        self._failure: Exception | None = None
        self._newest_lock: tuple[int, str] = (-1, "")

    async def get(self, table: type[R], key: Any, *, lock: bool = False) -> R | None:
        shape = shape_of(table)
        full_key = shape.key_from(key)
        async with self._statement():
            await self._flush_if_touched(shape)
            if lock and self._view(shape).get(full_key) is not None:
                await self._lock(shape, full_key)
            values = self._view(shape).get(full_key)
            return None if values is None else loaded(shape, values)

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
        shape = shape_of(table)
        fits, order = matching(shape, where), full_order(shape, order_by)
        async with self._statement():
            await self._flush_if_touched(shape)
            while True:
                rows = in_order(filter(fits, self._view(shape).rows()), order)
                if skip_locked:
                    rows = [values for values in rows if self._free(shape, values)]
                chosen = rows[:limit]
                if not (lock or skip_locked) or not await self._lock_rows(shape, chosen):
                    return [loaded(shape, values) for values in chosen]

    async def count(self, table: type[R], **where: Any) -> int:
        shape = shape_of(table)
        fits = matching(shape, where)
        async with self._statement():
            await self._flush_if_touched(shape)
            return sum(map(fits, self._view(shape).rows()))

    def add(self, row: R) -> R:
        return self._changes.add(row)

    def update(self, row: R, **changes: Any) -> R:
        return self._changes.update(row, changes)

    def delete(self, row: R) -> None:
        self._changes.delete(row)

    async def flush(self) -> None:
        async with self._statement():
            await self._write(self._changes)
        self._changes.clear()

    async def lock(self, name: str) -> None:
        async with self._statement():
            await self._database.locks.take(name, self)

    async def commit(self) -> None:
        """Write what is pending and make it last: at one moment, without giving others a turn in between."""
        if self._failure is not None:
            raise self._failure
        if self._changes:
            await self.flush()
        for view in self._views.values():
            view.check_unique()
        for view in self._views.values():
            view.apply()

    @property
    def wrote(self) -> bool:
        """Whether it has changed anything."""
        return any(view.written for view in self._views.values())

    async def end(self) -> None:
        """Undo what was not committed."""
        self._views.clear()
        await self._database.locks.release(self)

    @asynccontextmanager
    async def _statement(self) -> AsyncIterator[None]:
        try:
            await self._database.reach()
            yield
        except BaseException as error:
            interrupted = Temporary("A statement was interrupted, so its transaction cannot be committed.")
            self._failure = error if isinstance(error, Exception) else interrupted
            raise

    def _view(self, shape: TableShape[R]) -> View[R]:
        if (found := self._views.get(shape)) is None:
            found = self._views[shape] = View(self._database.table(shape))
        return found

    async def _flush_if_touched(self, shape: TableShape[Any]) -> None:
        if self._changes.touch(shape):
            await self._write(self._changes)
            self._changes.clear()

    async def _write(self, changes: Changes) -> None:
        for (shape, key), row in changes.deletes.items():
            await self._lock(shape, key)
            self._delete(shape, key, row)
        for (shape, key), update in changes.updates.items():
            await self._lock(shape, key)
            self._update(shape, key, update)
        for (shape, _), row in changes.inserts.items():
            self._view(shape).insert(row)
        for view in self._views.values():
            view.check_unique()

    def _delete(self, shape: TableShape[Any], key: Key, row: SQLModel) -> None:
        present = self._view(shape).get(key)
        if shape.versioned and (present is None or present["version"] != row.version):  # type: ignore[attr-defined]
            raise _stale(shape)
        self._view(shape).delete(key)

    def _update(self, shape: TableShape[Any], key: Key, update: Update) -> None:
        present = self._view(shape).get(key)
        changes = stored(shape, update.row, update.columns)
        if present is None or (shape.versioned and present["version"] != changes["version"] - 1):
            raise _stale(shape)
        self._view(shape).change(key, changes)

    async def _lock(self, shape: TableShape[Any], key: Key) -> bool:
        is_new = key not in self._database.table(shape).rows  # nobody else can see it, let alone wait for it
        if not is_new and self._database.locks.owners.get((shape, key)) is not self:
            self._check_order(shape)
        return await self._database.locks.take((shape, key), self)

    def _check_order(self, shape: TableShape[Any]) -> None:
        rank = self._database.lock_rank(shape)
        if rank is None:
            return
        newest, name = self._newest_lock
        assert rank >= newest, (
            f"{shape.name} is locked after {name}: two who do this differently wait for each other"
        )
        self._newest_lock = (rank, shape.name)

    async def _lock_rows(self, shape: TableShape[Any], rows: Sequence[Values]) -> bool:
        """Lock the rows; True if one of them may have changed meanwhile."""
        waited = [await self._lock(shape, _key(shape, values)) for values in rows]
        return any(waited)

    def _free(self, shape: TableShape[Any], values: Values) -> bool:
        return self._database.locks.is_free((shape, _key(shape, values)), self)


def _key(shape: TableShape[Any], values: Values) -> Key:
    return tuple(values[name] for name in shape.key)


def _stale(shape: TableShape[Any]) -> StaleVersion:
    return StaleVersion(stale([shape.name]), data={"tables": [shape.name]})
