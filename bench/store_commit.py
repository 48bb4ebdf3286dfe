"""What a durable unit of work costs: eight rows in seven tables, as the accept of a deploy writes them.

Ours against an ORM session that does the same, and against the floor: one bare transaction with one INSERT.  Postgres flushes to the
disk here.  `python -m bench.store_commit`
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import asyncpg
import uvloop
from sqlalchemy import MetaData, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlmodel import Field, SQLModel

from lattice.postgres import PostgresStore
from lattice.settings import DatabaseSettings
from tests.fixtures.postgres import make_postgres_server

ROUNDS = 9
UNITS_PER_ROUND = 60
ROWS_PER_TABLE = (1, 1, 1, 1, 1, 2, 1)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Row(SQLModel):
    metadata: ClassVar[MetaData] = MetaData(schema="bench")
    id: str = Field(primary_key=True)
    project: str
    name: str
    state: str = "pending"
    count: int = 1
    spec: dict[str, Any] = Field(sa_type=JSONB, nullable=False)
    created_at: datetime
    version: int = 1


def make_table(number: int) -> type[Row]:
    """One of the seven tables, with a unique rule as real ones have."""
    name = f"t{number}"
    rule = UniqueConstraint("project", "name", name=f"{name}_name")
    members = {"__tablename__": name, "__table_args__": (rule,), "__module__": __name__}
    return type(Row)(f"Row{number}", (Row,), members, table=True)  # type: ignore[misc, no-any-return]


TABLES = [make_table(number) for number in range(len(ROWS_PER_TABLE))]
_numbers = itertools.count()


def rows() -> list[Row]:
    """What one unit of work adds."""
    return [new_row(table) for table, many in zip(TABLES, ROWS_PER_TABLE, strict=True) for _ in range(many)]


def new_row(table: type[Row]) -> Row:
    number = next(_numbers)
    spec = {"image": "postgres:16", "env": {"TZ": "UTC"}, "ports": [{"name": "http", "port": 8080}]}
    return table(id=f"wl-{number:026}", project="default", name=f"n{number}", spec=spec, created_at=NOW)


@dataclass
class Contenders:
    """The same database, reached in three ways."""

    store: PostgresStore
    engine: AsyncEngine
    bare: asyncpg.Connection[Any]

    async def floor(self) -> None:
        async with self.bare.transaction():
            await self.bare.execute(
                "INSERT INTO bench.t0 (id, project, name, state, count, spec, created_at, version)"
                " VALUES ($1, 'default', $1, 'pending', 1, '{}', $2, 1)", f"floor-{next(_numbers)}", NOW
            )  # fmt: skip

    async def ours(self) -> None:
        async with self.store.transaction() as tx:
            for row in rows():
                tx.add(row)

    async def ours_locked(self) -> None:
        async with self.store.transaction() as tx:
            first = await tx.get(TABLES[0], "first", lock=True)
            assert first is not None
            tx.update(first, count=first.count + 1)
            for row in rows()[1:]:
                tx.add(row)

    async def orm(self) -> None:
        async with AsyncSession(self.engine) as session:
            session.add_all(rows())
            await session.commit()

    def units(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "floor: one bare INSERT": self.floor,
            "ours": self.ours,
            "ours, one row read with lock and updated": self.ours_locked,
            "ORM session": self.orm,
        }


async def measure(url: str) -> dict[str, list[float]]:
    """Milliseconds per unit of work of each contender: the median of each round, the contenders taking turns."""
    store, engine = PostgresStore(DatabaseSettings(url=url)), create_async_engine(url)
    bare = await asyncpg.connect(url.replace("+asyncpg", ""))
    await make_tables(engine, store)
    units = Contenders(store, engine, bare).units()
    found: dict[str, list[float]] = {name: [] for name in units}
    for unit in units.values():
        await one_round(unit)  # warm up
    for _ in range(ROUNDS):
        for name, unit in units.items():
            found[name].append(await one_round(unit))
    await bare.close()
    await engine.dispose()
    await store.close()
    return found


async def make_tables(engine: AsyncEngine, store: PostgresStore) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA bench"))
        await connection.run_sync(Row.metadata.create_all)
    async with store.transaction() as tx:
        tx.add(TABLES[0](id="first", project="default", name="first", spec={}, created_at=NOW))


async def one_round(unit: Callable[[], Awaitable[None]]) -> float:
    took_ms = []
    for _ in range(UNITS_PER_ROUND):
        began = time.perf_counter()
        await unit()
        took_ms.append((time.perf_counter() - began) * 1000)
    return statistics.median(took_ms)


def report(found: dict[str, list[float]]) -> str:
    """A table: p50 and the median of the rounds' ratios to the floor."""
    floor = next(iter(found.values()))
    lines = [f"{'':42} {'p50 ms':>8} {'x floor':>8}"]
    for name, rounds in found.items():
        ratio = statistics.median(ours / base for ours, base in zip(rounds, floor, strict=True))
        lines.append(f"{name:42} {statistics.median(rounds):8.3f} {ratio:8.2f}")
    return "\n".join(lines)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="lattice-bench-") as folder:
        server = make_postgres_server(Path(folder) / "postgres")
        server.start()
        try:
            url = server.create("bench")
            print(report(uvloop.run(measure(url))))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
