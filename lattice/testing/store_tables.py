"""Tables in memory: rows as the values that Postgres would hold, and what a unit of work sees of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any, Generic, TypeVar

from pydantic_core import from_json, to_json
from sqlmodel import SQLModel

from lattice.errors import Invalid
from lattice.postgres_changes import duplicate
from lattice.postgres_queries import condition
from lattice.postgres_rows import TableShape, UniqueRule

R = TypeVar("R", bound=SQLModel)
Key = tuple[Any, ...]
Values = Mapping[str, Any]


@dataclass(eq=False)
class MemoryTable(Generic[R]):
    """The committed rows of one table by their key, and for each unique rule which key holds a value."""

    shape: TableShape[R]
    rows: dict[Key, Values] = field(default_factory=dict)
    holders: dict[str, dict[Key, Key]] = field(default_factory=lambda: defaultdict(dict))
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def put(self, key: Key, values: Values | None) -> None:
        """Replace the row; None removes it."""
        before = self.rows.pop(key, None)
        for rule in self.shape.uniques:
            if before is not None and (value := _unique_value(rule, before)) is not None:
                del self.holders[rule.name][value]
        for rule in self.shape.uniques:
            if values is not None and (value := _unique_value(rule, values)) is not None:
                self.holders[rule.name][value] = key
        if values is not None:
            self.rows[key] = values


@dataclass(eq=False)
class View(Generic[R]):
    """A table as one unit of work sees it: what is committed, under what the unit itself has written (None: deleted)."""

    table: MemoryTable[R]
    written: dict[Key, Values | None] = field(default_factory=dict)
    inserted: set[Key] = field(default_factory=set)

    def get(self, key: Key) -> Values | None:
        """The row of this key."""
        return self.written[key] if key in self.written else self.table.rows.get(key)

    def rows(self) -> Iterator[Values]:
        """All rows."""
        committed = (values for key, values in self.table.rows.items() if key not in self.written)
        return chain(committed, (values for values in self.written.values() if values is not None))

    def insert(self, row: R) -> None:
        """Add a row; Conflict if its key is taken."""
        shape, values = self.table.shape, dict(stored(self.table.shape, row))
        for name, column in shape.columns.items():
            if column.generated and values[name] is None:
                values[name] = next(self.table.numbers)
        key = tuple(values[name] for name in shape.key)
        if self.get(key) is not None:
            raise duplicate(shape, shape.uniques[0].name, shape.key)
        if key not in self.written:
            self.inserted.add(key)
        self._put(key, values)

    def change(self, key: Key, changes: Values) -> None:
        """Replace some columns of a row."""
        self._put(key, {**(self.get(key) or {}), **changes})

    def delete(self, key: Key) -> None:
        """Remove a row."""
        self.written[key] = None

    def apply(self) -> None:
        """Commit."""
        for key in self.written:
            self.table.put(key, None)  # first, so that a value may pass from one row to another
        for key, values in self.written.items():
            self.table.put(key, values)

    def check_unique(self) -> None:
        """Conflict if a row that was written breaks a unique rule."""
        shape = self.table.shape
        if any(key in self.table.rows for key in self.inserted):
            raise duplicate(shape, shape.uniques[0].name, shape.key)
        for rule in shape.uniques:
            self._check_rule(rule)

    def _check_rule(self, rule: UniqueRule) -> None:
        mine: dict[Key, Key] = {}
        for key, values in self.written.items():
            value = None if values is None else _unique_value(rule, values)
            if value is None:
                continue
            committed = self.table.holders[rule.name].get(value, key)
            if mine.setdefault(value, key) != key or (committed != key and committed not in self.written):
                raise duplicate(self.table.shape, rule.name, rule.columns)

    def _put(self, key: Key, values: Values) -> None:
        shape = self.table.shape
        for name, column in shape.columns.items():
            if values[name] is None and not column.nullable:
                raise Invalid(f"The database refuses the value: {shape.name}.{name} must not be null")
            if _holds_nul(values[name]):
                raise Invalid(f"The database refuses the value: {shape.name}.{name} holds a NUL character")
        self.written[key] = values


def stored(shape: TableShape[R], row: R, names: Iterable[str] | None = None) -> Values:
    """The row's values as the database holds them; JSON is copied, so later changes of the row do not reach the table."""
    columns = [shape.columns[name] for name in (shape.columns if names is None else names)]
    values = {column.name: column.stored(getattr(row, column.name)) for column in columns}
    return {name: _copied(value) if shape.columns[name].is_json else value for name, value in values.items()}


def loaded(shape: TableShape[R], values: Values) -> R:
    """A row of its own for the caller."""
    return shape.make({name: _copied(v) if shape.columns[name].is_json else v for name, v in values.items()})


def _copied(value: Any) -> Any:
    return None if value is None else from_json(to_json(value))


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, Mapping):
        return any(_holds_nul(part) for item in value.items() for part in item)
    return isinstance(value, list) and any(map(_holds_nul, value))


def _unique_value(rule: UniqueRule, values: Values) -> Key | None:
    """What must be unique, or None for a row that the rule does not speak of."""
    key = tuple(values[name] for name in rule.columns)
    return None if None in key or not rule.applies(values) else key


Test = Callable[[Any], bool]

_TESTS: dict[str, Callable[..., Test]] = {
    "null": lambda: lambda value: value is None,
    "set": lambda: lambda value: value is not None,
    "is": lambda wanted: lambda value: wanted is not None and value == wanted,
    "not": lambda wanted: lambda value: bool(value != wanted),
    "gt": lambda bound: lambda value: value is not None and bound is not None and bool(value > bound),
    "lt": lambda bound: lambda value: value is not None and bound is not None and bool(value < bound),
    "in": lambda wanted: lambda value: value is not None and value in wanted,
}


def matching(shape: TableShape[Any], where: Mapping[str, Any]) -> Callable[[Values], bool]:
    """Whether a row meets all conditions."""
    tests = [(name, _test(shape, name, wanted)) for name, wanted in where.items()]

    def meets(values: Values) -> bool:
        for name, test in tests:  # noqa: SIM110 - asked of every row at every read: a generator takes twice as long
            if not test(values[name]):
                return False
        return True

    return meets


def _test(shape: TableShape[Any], name: str, wanted: Any) -> Test:
    operator, arguments = condition(shape.findable(name), wanted)
    return _TESTS[operator](*arguments)


def in_order(rows: Iterable[Values], order_by: Sequence[str]) -> list[Values]:
    """Rows as Postgres orders them: a null comes after everything, so first where the order is descending."""
    ordered = list(rows)
    if len(ordered) < 2:
        return ordered
    for name in reversed(order_by):
        column = name.removeprefix("-")
        ordered.sort(key=lambda values: _place(values[column]), reverse=name.startswith("-"))
    return ordered


def _place(value: Any) -> tuple[bool, Any]:
    return (value is None, 0 if value is None else value)
