"""What a service needs from its database: transactions over rows, nothing else.

`postgres.PostgresStore` does it on Postgres, `testing.MemoryStore` in memory; one contract suite holds both to the same rules.

    async with store.transaction() as tx:
        node = await tx.get(NodeRow, node_id, lock=True)
        tx.update(node, cordoned=True)
        tx.add(FactRow(...))

Everything of one `async with` is committed together when it ends, and nothing of it when it raises.  A row with a `version` column is
guarded: if somebody else changed it since it was read, the commit raises StaleVersion and nothing is written.  A broken unique rule raises
Conflict.  When the database is away or asks for a retry, Temporary.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlmodel import SQLModel

R = TypeVar("R", bound=SQLModel)


@dataclass(frozen=True, slots=True)
class In:
    """The column is one of these."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Gt:
    """The column is greater than this."""

    value: Any


@dataclass(frozen=True, slots=True)
class Lt:
    """The column is less than this."""

    value: Any


@dataclass(frozen=True, slots=True)
class Not:
    """The column differs from this (None: the column is set)."""

    value: Any


class Transaction(Protocol):
    """A unit of work; what it reads is what is committed, plus its own changes."""

    async def get(self, table: type[R], key: Any, *, lock: bool = False) -> R | None:
        """The row with this primary key, or None.  `lock` keeps others from changing it until the end."""

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
        """Rows where each named column equals the value (None: is null; In, Gt, Lt, Not as they say).
        `order_by` names columns, `-name` for descending."""

    async def count(self, table: type[R], **where: Any) -> int:
        """How many rows `find` would return."""

    def add(self, row: R) -> R:
        """Insert at commit."""

    def update(self, row: R, **changes: Any) -> R:
        """Change columns at commit, guarded by the row's version where it has one; returns the row as it will be."""

    def delete(self, row: R) -> None:
        """Delete at commit."""

    async def flush(self) -> None:
        """Send what is pending now, so that later reads of this transaction see it."""

    async def lock(self, name: str) -> None:
        """Wait for an exclusive lock of this name, held to the end of the transaction."""


class Store(Protocol):
    """Where transactions come from."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a unit of work."""

    def exclusive(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Try to hold a lock of this name beyond transactions (one relay, one judge); yields whether it was got.
        It is lost with the connection: the holder must look again with each round."""
