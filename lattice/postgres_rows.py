"""What a row class says about its table: columns, key, version, unique rules, and how a value of each column travels.

`PostgresStore` and `MemoryStore` both read it, so that both take and give the same Python values: enums come back as the enum that the
row's annotation names, JSON columns hold plain JSON data, and a time without a zone is refused before it can be stored wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import cache, cached_property
from typing import Any, Generic, TypeVar, get_args

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.orm import class_mapper
from sqlmodel import SQLModel

from lattice.postgres_predicates import Predicate, always, parse_predicate

R = TypeVar("R", bound=SQLModel)
Convert = Callable[[Any], Any]

DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class ColumnShape:
    """One column: `store` turns the row's value into one that JSON or a query can carry, `load` turns it back."""

    name: str
    type: sa.types.TypeEngine[Any]
    is_json: bool
    is_bytes: bool
    generated: bool
    nullable: bool
    store: Convert | None
    load: Convert | None

    def stored(self, value: Any) -> Any:
        """The value as the database holds it."""
        return value if value is None or self.store is None else self.store(value)

    def loaded(self, value: Any) -> Any:
        """The value as the row holds it."""
        return value if value is None or self.load is None else self.load(value)

    @property
    def to_json(self) -> Convert | None:
        """Makes the value a member of a JSON object that Postgres reads into a row; None where it is one as it is."""
        return (lambda value: "\\x" + self.stored(value).hex()) if self.is_bytes else self.store


@dataclass(frozen=True, slots=True)
class UniqueRule:
    """No two rows for which `applies` holds are equal in all of `columns`; a null equals nothing."""

    name: str
    columns: tuple[str, ...]
    applies: Predicate = always


@dataclass(frozen=True, eq=False)
class TableShape(Generic[R]):
    """A row class and its table."""

    row: type[R]
    table: sa.Table
    columns: Mapping[str, ColumnShape]
    key: tuple[str, ...]
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.table.fullname)

    @property
    def versioned(self) -> bool:
        """Whether rows are guarded by their version."""
        return "version" in self.columns

    @cached_property
    def uniques(self) -> tuple[UniqueRule, ...]:
        """Every unique rule with the name that Postgres reports, the primary key first."""
        return tuple(_unique_rules(self.table))

    @cached_property
    def generated(self) -> frozenset[str]:
        """The columns that the database numbers by itself where a row leaves them empty."""
        return frozenset(name for name, column in self.columns.items() if column.generated)

    @cached_property
    def _loads(self) -> tuple[tuple[str, Convert], ...]:
        return tuple((c.name, c.load) for c in self.columns.values() if c.load is not None)

    def key_of(self, row: R) -> tuple[Any, ...]:
        """The values of the row's primary key."""
        return tuple(getattr(row, name) for name in self.key)

    def key_from(self, key: Any) -> tuple[Any, ...]:
        """A key as callers write it: the value itself, or a tuple where several columns make the key."""
        values = key if isinstance(key, tuple) else (key,)
        if len(values) != len(self.key):
            raise ValueError(f"the key of {self.name} is {self.key}, not {key!r}")
        return values

    def column(self, name: str) -> ColumnShape:
        """The column of this name; ValueError if there is none."""
        if name not in self.columns:
            raise ValueError(f"{self.name} has no column {name!r}")
        return self.columns[name]

    def findable(self, name: str) -> ColumnShape:
        """The column of this name, if rows can be found by it."""
        column = self.column(name)
        if column.is_json:
            raise ValueError(f"{name!r} of {self.name} is JSON: rows are not found by it")
        return column

    def make(self, stored: Mapping[str, Any]) -> R:
        """A row from the values that the database gave, without running the class's validation again."""
        values = dict(stored)
        for name, load in self._loads:
            if values[name] is not None:
                values[name] = load(values[name])
        row: R = self._new_instance()
        row.__dict__.update(values)
        return row

    @cached_property
    def _new_instance(self) -> Callable[[], R]:
        make: Callable[[], R] = class_mapper(self.row).class_manager.new_instance
        return make


@cache
def shape_of(row: type[R]) -> TableShape[R]:
    """The shape of a row class; TypeError if it is not a table."""
    table = getattr(row, "__table__", None)
    if not isinstance(table, sa.Table):
        raise TypeError(f"{row.__name__} is not a table: declare it with table=True")
    columns = {c.name: _column_shape(c, row) for c in table.columns}
    return TableShape(row, table, columns, tuple(c.name for c in table.primary_key))


def _column_shape(column: sa.Column[Any], row: type[SQLModel]) -> ColumnShape:
    type_ = column.type
    implementation = type_.dialect_impl(DIALECT)
    plain = implementation.impl_instance if isinstance(implementation, sa.TypeDecorator) else implementation
    is_json = isinstance(plain, sa.JSON)
    return ColumnShape(
        name=column.name,
        type=type_,
        is_json=is_json,
        is_bytes=isinstance(plain, sa.LargeBinary),
        generated=_is_generated(column),
        nullable=bool(column.nullable),
        store=_store(type_, plain),
        load=_load(type_, plain, _enum_of(row, column.name)),
    )


def _is_generated(column: sa.Column[Any]) -> bool:
    return column is column.table._autoincrement_column


def _store(type_: sa.types.TypeEngine[Any], plain: sa.types.TypeEngine[Any]) -> Convert | None:
    if isinstance(type_, sa.TypeDecorator) and _overrides(type_, "process_bind_param"):
        decorator = type_
        return lambda value: decorator.process_bind_param(value, DIALECT)
    if isinstance(plain, sa.DateTime) and plain.timezone:
        return _aware
    if isinstance(plain, sa.Enum):
        processor: Convert | None = plain.bind_processor(DIALECT)  # type: ignore[no-untyped-call]
        return processor
    return None


def _load(
    type_: sa.types.TypeEngine[Any], plain: sa.types.TypeEngine[Any], enum: type[Enum] | None
) -> Convert | None:
    if isinstance(type_, sa.TypeDecorator) and _overrides(type_, "process_result_value"):
        decorator = type_
        return lambda value: decorator.process_result_value(value, DIALECT)
    if isinstance(plain, sa.Enum):
        processor: Convert | None = plain.result_processor(DIALECT, None)  # type: ignore[no-untyped-call]
        return processor
    return enum


def _overrides(decorator: sa.TypeDecorator[Any], method: str) -> bool:
    return getattr(type(decorator), method) is not getattr(sa.TypeDecorator, method)


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone: times are stored in UTC")
    return value


def _enum_of(row: type[SQLModel], column: str) -> type[Enum] | None:
    annotation = row.model_fields[column].annotation if column in row.model_fields else None
    candidates = [annotation, *get_args(annotation)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, Enum)), None)


def _unique_rules(table: sa.Table) -> list[UniqueRule]:
    key = tuple(c.name for c in table.primary_key)
    rules = [UniqueRule(str(table.primary_key.name or f"{table.name}_pkey"), key)]
    for constraint in table.constraints:
        if isinstance(constraint, sa.UniqueConstraint):
            names = tuple(c.name for c in constraint.columns)
            rules.append(UniqueRule(str(constraint.name or f"{table.name}_{'_'.join(names)}_key"), names))
    for index in table.indexes:
        if index.unique:
            rules.append(_index_rule(index))
    return rules


def _index_rule(index: sa.Index) -> UniqueRule:
    where = index.dialect_options["postgresql"]["where"]
    names = tuple(column.name for column in index.columns)
    return UniqueRule(str(index.name), names, always if where is None else parse_predicate(_text_of(where)))


def _text_of(where: Any) -> str:
    if isinstance(where, str):
        return where
    return str(where.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))
