"""Reads as SQL: a `find` becomes a SQLAlchemy select once per form, and only its values change from call to call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from lattice.postgres_rows import DIALECT, ColumnShape, TableShape
from lattice.storage import Gt, In, Lt, Not


@dataclass(frozen=True, slots=True)
class Query:
    """A statement and the values of its places."""

    sql: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Locking:
    lock: bool
    skip_locked: bool


_NO_LOCK = _Locking(lock=False, skip_locked=False)
_Test = tuple[str, str]  # column, operator: the form of a condition without its value


def get_query(shape: TableShape[Any], key: Any, *, lock: bool) -> Query:
    """The row of this primary key."""
    where = dict(zip(shape.key, shape.key_from(key), strict=True))
    tests, values = _conditions(shape, where)
    return Query(_select(shape, tests, (), _Locking(lock, skip_locked=False)), (*values, None))


def find_query(
    shape: TableShape[Any],
    where: Mapping[str, Any],
    *,
    order_by: Sequence[str],
    limit: int | None,
    lock: bool,
    skip_locked: bool,
) -> Query:
    """The rows that meet all conditions, in order."""
    tests, values = _conditions(shape, where)
    sql = _select(shape, tests, full_order(shape, order_by), _Locking(lock, skip_locked))
    return Query(sql, (*values, limit))


def count_query(shape: TableShape[Any], where: Mapping[str, Any]) -> Query:
    """How many rows meet all conditions."""
    tests, values = _conditions(shape, where)
    return Query(_count(shape, tests), tuple(values))


def full_order(shape: TableShape[Any], order_by: Sequence[str]) -> tuple[str, ...]:
    """`order_by`, then the key, so that the order of rows is never left to chance.  `("id",)` means the key where there is no `id`."""
    wanted = () if tuple(order_by) == ("id",) and "id" not in shape.columns else tuple(order_by)
    named = {shape.column(name.removeprefix("-")).name for name in wanted}
    return wanted + tuple(name for name in shape.key if name not in named)


def _conditions(shape: TableShape[Any], where: Mapping[str, Any]) -> tuple[tuple[_Test, ...], list[Any]]:
    tests, values = [], []
    for name, wanted in where.items():
        operator, arguments = condition(shape.findable(name), wanted)
        tests.append((name, operator))
        values.extend(arguments)
    return tuple(tests), values


def condition(column: ColumnShape, wanted: Any) -> tuple[str, list[Any]]:
    """A condition as callers write it, as the name of an operator and the values that it needs."""
    match wanted:
        case None:
            return "null", []
        case Not(None):
            return "set", []
        case Not(value):
            return "not", [column.stored(value)]
        case Gt(value):
            return "gt", [column.stored(value)]
        case Lt(value):
            return "lt", [column.stored(value)]
        case In(values):
            return "in", [[column.stored(value) for value in values if value is not None]]
        case value:
            return "is", [column.stored(value)]


_OPERATORS: dict[str, Callable[[sa.Column[Any], str], sa.ColumnElement[bool]]] = {
    "null": lambda column, _: column.is_(None),
    "set": lambda column, _: column.is_not(None),
    "is": lambda column, place: column == sa.bindparam(place, type_=column.type),
    "not": lambda column, place: column.is_distinct_from(sa.bindparam(place, type_=column.type)),
    "gt": lambda column, place: column > sa.bindparam(place, type_=column.type),
    "lt": lambda column, place: column < sa.bindparam(place, type_=column.type),
    "in": lambda column, place: column == sa.any_(sa.bindparam(place, type_=ARRAY(column.type))),
}


def _where(shape: TableShape[Any], tests: tuple[_Test, ...]) -> list[sa.ColumnElement[bool]]:
    return [_OPERATORS[operator](shape.table.c[name], f"v{n}") for n, (name, operator) in enumerate(tests)]


@lru_cache(maxsize=2048)
def _select(
    shape: TableShape[Any], tests: tuple[_Test, ...], order_by: tuple[str, ...], locking: _Locking
) -> str:
    order = [_ordered(shape.table, name) for name in order_by]
    limit = sa.bindparam("limit", type_=sa.BigInteger)
    query = sa.select(*shape.table.c).where(*_where(shape, tests)).order_by(*order).limit(limit)
    if locking.lock:
        # Not FOR UPDATE: that would make everybody wait who merely refers to the row.
        query = query.with_for_update(key_share=True, skip_locked=locking.skip_locked)
    return _compiled(query)


@lru_cache(maxsize=1024)
def _count(shape: TableShape[Any], tests: tuple[_Test, ...]) -> str:
    return _compiled(sa.select(sa.func.count()).select_from(shape.table).where(*_where(shape, tests)))


def _ordered(table: sa.Table, name: str) -> sa.ColumnElement[Any]:
    return table.c[name[1:]].desc() if name.startswith("-") else table.c[name].asc()


def _compiled(query: sa.Select[Any]) -> str:
    """The text with its places in the order in which their values are given: v0, v1, … and the limit last."""
    compiled = query.compile(dialect=DIALECT)
    places = [name for name in compiled.positiontup or () if name != "limit"]
    if places != sorted(places, key=lambda name: int(name[1:])):
        raise AssertionError(f"places out of order in {compiled}")
    return str(compiled)
