"""Changes as SQL: all rows of all tables in one statement where that is possible.

Each table's rows travel as one JSON array, which `jsonb_populate_recordset` turns back into rows, so the text of the statement depends on
the tables and columns alone and is prepared once.  The parts of one statement happen at the same moment and do not see each other;
therefore a table stands in it once only, and what would touch it again comes in a statement of its own.

A guarded write that meets fewer rows than it should makes the statement divide by zero: the one way in which plain SQL can refuse itself
in the same round trip.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

from pydantic_core import to_json
from sqlmodel import SQLModel

from lattice.postgres_changes import Changes
from lattice.postgres_rows import DIALECT, Convert, TableShape

Verb = Literal["delete", "update", "insert"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What is done to a table: everything that the text of a statement depends on."""

    verb: Verb
    shape: TableShape[Any]
    columns: tuple[str, ...]

    @property
    def counted(self) -> bool:
        """Whether every row must be met; a row without a version that is gone already needs no second delete."""
        return self.verb == "update" or (self.verb == "delete" and self.shape.versioned)


@dataclass(frozen=True, slots=True)
class Statement:
    """One round trip."""

    sql: str
    arguments: tuple[Any, ...]
    guarded: tuple[str, ...]


def statements(changes: Changes) -> list[Statement]:
    """The statements that make the changes, in order; one, unless a table is changed in more than one way."""
    groups: list[dict[Kind, list[SQLModel]]] = []
    for phase in (_deletes(changes), _updates(changes), _inserts(changes)):
        if groups and _tables(groups[-1]).isdisjoint(_tables(phase)):
            groups[-1].update(phase)
        elif phase:
            groups.append(phase)
    return [_statement(group) for group in groups]


def _tables(group: Iterable[Kind]) -> set[str]:
    return {kind.shape.name for kind in group}


def _deletes(changes: Changes) -> dict[Kind, list[SQLModel]]:
    found = defaultdict(list)
    for (shape, _), row in changes.deletes.items():
        columns = (*shape.key, "version") if shape.versioned else shape.key
        found[Kind("delete", shape, columns)].append(row)
    return dict(found)


def _updates(changes: Changes) -> dict[Kind, list[SQLModel]]:
    found = defaultdict(list)
    for update in changes.updates.values():
        columns = tuple(name for name in update.shape.columns if name in update.columns)
        if columns:
            found[Kind("update", update.shape, update.shape.key + columns)].append(update.row)
    return dict(found)


def _inserts(changes: Changes) -> dict[Kind, list[SQLModel]]:
    found = defaultdict(list)
    for (shape, _), row in changes.inserts.items():
        empty = {name for name in shape.generated if getattr(row, name) is None}
        found[_insert_kind(shape, frozenset(empty))].append(row)
    return dict(found)


@cache
def _insert_kind(shape: TableShape[Any], empty: frozenset[str]) -> Kind:
    return Kind("insert", shape, tuple(name for name in shape.columns if name not in empty))


def _statement(group: Mapping[Kind, list[SQLModel]]) -> Statement:
    kinds = tuple(group)
    arguments: list[Any] = [_rows_as_json(kind, rows) for kind, rows in group.items()]
    counted = [kind for kind in kinds if kind.counted]
    if counted:
        arguments.append(sum(len(group[kind]) for kind in counted))
    return Statement(_sql(kinds), tuple(arguments), tuple(kind.shape.name for kind in counted))


def _rows_as_json(kind: Kind, rows: list[SQLModel]) -> str:
    """The rows' columns as a JSON array of objects, read past SQLAlchemy's instrumentation: that takes half of the time."""
    converted = _conversions(kind)
    objects = []
    for row in rows:
        values = {name: row.__dict__.get(name) for name in kind.columns}
        for name, convert in converted:
            if values[name] is not None:
                values[name] = convert(values[name])
        objects.append(values)
    return to_json(objects, inf_nan_mode="strings").decode()


@lru_cache(maxsize=1024)
def _conversions(kind: Kind) -> tuple[tuple[str, Convert], ...]:
    columns = [kind.shape.columns[name] for name in kind.columns]
    return tuple((column.name, column.to_json) for column in columns if column.to_json is not None)


@lru_cache(maxsize=1024)
def _sql(kinds: tuple[Kind, ...]) -> str:
    parts = [f"w{n} AS ({_WRITERS[kind.verb](kind, n + 1)})" for n, kind in enumerate(kinds)]
    counts = [f"(SELECT count(*) FROM w{n})" for n, kind in enumerate(kinds) if kind.counted]
    answer = "1"
    if counts:
        answer = f"1 / CASE WHEN {' + '.join(counts)} = ${len(kinds) + 1}::bigint THEN 1 ELSE 0 END"
    return f"WITH {', '.join(parts)} SELECT {answer}"


def _insert(kind: Kind, argument: int) -> str:
    columns = ", ".join(map(_quoted, kind.columns))
    return f"INSERT INTO {_table(kind)} ({columns}) SELECT {columns} FROM {_rows(kind, argument)}"


def _update(kind: Kind, argument: int) -> str:
    changed = kind.columns[len(kind.shape.key) :]
    sets = ", ".join(f"{_quoted(name)} = d.{_quoted(name)}" for name in changed)
    guard = " AND t.version = d.version - 1" if kind.shape.versioned else ""
    return (
        f"UPDATE {_table(kind)} AS t SET {sets} FROM {_rows(kind, argument)}"
        f" WHERE {_same_key(kind)}{guard} RETURNING 1"
    )


def _delete(kind: Kind, argument: int) -> str:
    guard = " AND t.version = d.version" if kind.shape.versioned else ""
    return (
        f"DELETE FROM {_table(kind)} AS t USING {_rows(kind, argument)}"
        f" WHERE {_same_key(kind)}{guard} RETURNING 1"
    )


_WRITERS = {"insert": _insert, "update": _update, "delete": _delete}


def _rows(kind: Kind, argument: int) -> str:
    return f"jsonb_populate_recordset(NULL::{_table(kind)}, ${argument}::jsonb) AS d"


def _same_key(kind: Kind) -> str:
    return " AND ".join(f"t.{_quoted(name)} = d.{_quoted(name)}" for name in kind.shape.key)


def _table(kind: Kind) -> str:
    return DIALECT.identifier_preparer.format_table(kind.shape.table)


def _quoted(name: str) -> str:
    return DIALECT.identifier_preparer.quote(name)
