"""Upgrades of a service's tables on a real Postgres."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import MetaData, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field, SQLModel

from lattice.errors import Temporary
from lattice.migrations import Migrations, NewerSchema, missing_changes, upgrade
from tests.fixtures.postgres import PostgresServer

STEP = '''"""Step {number}."""
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "{number:04}"
down_revision = {before!r}


def upgrade() -> None:
    {body}
'''
MAKE_BOX = 'op.create_table("box", sa.Column("id", sa.String(), primary_key=True), schema="{schema}")'
FILL_BOX = "op.execute(\"INSERT INTO {schema}.box SELECT 'b' || count(*) FROM {schema}.box\")"


class BoxRow(SQLModel, table=True):
    """A table whose columns use what row classes use."""

    metadata: ClassVar[MetaData] = MetaData(schema="parcels")
    __tablename__ = "box"
    id: str = Field(primary_key=True)
    label: str = Field(index=True)
    content: dict[str, Any] = Field(sa_type=JSONB, nullable=False)
    sent_at: datetime | None = None


def write_steps(folder: Path, *bodies: str) -> Path:
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    for number, body in enumerate(bodies, start=1):
        before = f"{number - 1:04}" if number > 1 else None
        step = STEP.format(number=number, before=before, body=body)
        (folder / "versions" / f"{number:04}_step.py").write_text(step)
    return folder


def parcels(folder: Path, *bodies: str, schema: str = "parcels") -> Migrations:
    steps = [body.replace("{schema}", schema) for body in bodies]
    return Migrations(schema=schema, folder=write_steps(folder / schema, *steps), metadata=BoxRow.metadata)


async def value(url: str, query: str) -> Any:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return (await connection.execute(text(query))).scalar()
    finally:
        await engine.dispose()


async def test_an_empty_database_is_brought_up_to_date_once(postgres_url: str, tmp_path: Path) -> None:
    migrations = parcels(tmp_path, MAKE_BOX, FILL_BOX)
    await upgrade(postgres_url, migrations)
    await upgrade(postgres_url, migrations)
    assert await value(postgres_url, "SELECT count(*) FROM parcels.box") == 1
    assert await value(postgres_url, "SELECT version_num FROM parcels.schema_version") == "0002"


async def test_a_later_step_is_applied_to_what_is_there(postgres_url: str, tmp_path: Path) -> None:
    await upgrade(postgres_url, parcels(tmp_path / "old", MAKE_BOX, FILL_BOX))
    await upgrade(postgres_url, parcels(tmp_path / "new", MAKE_BOX, FILL_BOX, FILL_BOX))
    assert await value(postgres_url, "SELECT count(*) FROM parcels.box") == 2


async def test_replicas_that_start_together_upgrade_once(postgres_url: str, tmp_path: Path) -> None:
    migrations = parcels(tmp_path, MAKE_BOX, FILL_BOX)
    await asyncio.gather(*(upgrade(postgres_url, migrations) for _ in range(4)))
    assert await value(postgres_url, "SELECT count(*) FROM parcels.box") == 1


async def test_services_are_upgraded_apart_from_each_other(postgres_url: str, tmp_path: Path) -> None:
    one = parcels(tmp_path, MAKE_BOX)
    two = parcels(tmp_path, MAKE_BOX, FILL_BOX, schema="letters")
    await asyncio.gather(upgrade(postgres_url, one), upgrade(postgres_url, two))
    assert await value(postgres_url, "SELECT version_num FROM parcels.schema_version") == "0001"
    assert await value(postgres_url, "SELECT version_num FROM letters.schema_version") == "0002"


async def test_a_step_that_fails_leaves_nothing_behind(postgres_url: str, tmp_path: Path) -> None:
    with pytest.raises(DBAPIError, match="nowhere"):
        await upgrade(postgres_url, parcels(tmp_path, MAKE_BOX, 'op.execute("DELETE FROM nowhere")'))
    assert await value(postgres_url, "SELECT to_regnamespace('parcels')") is None


async def test_an_older_release_refuses_newer_tables(postgres_url: str, tmp_path: Path) -> None:
    await upgrade(postgres_url, parcels(tmp_path / "new", MAKE_BOX, FILL_BOX))
    with pytest.raises(NewerSchema, match=r"parcels.*newer"):
        await upgrade(postgres_url, parcels(tmp_path / "old", MAKE_BOX))
    assert await value(postgres_url, "SELECT version_num FROM parcels.schema_version") == "0002"


async def test_the_missing_changes_make_the_tables_of_the_row_classes(
    postgres_url: str, tmp_path: Path
) -> None:
    nothing = parcels(tmp_path / "nothing")
    await upgrade(postgres_url, nothing)
    body = await missing_changes(postgres_url, nothing)
    assert "sqlmodel" not in body
    complete = parcels(tmp_path / "complete", body)
    await upgrade(postgres_url, complete)
    assert await missing_changes(postgres_url, complete) == ""


async def test_a_column_without_a_migration_is_found(postgres_url: str, tmp_path: Path) -> None:
    migrations = parcels(tmp_path, MAKE_BOX)
    await upgrade(postgres_url, migrations)
    assert "sent_at" in await missing_changes(postgres_url, migrations)


async def test_an_absent_database_is_temporary(
    postgres_server: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    name = postgres_url.rpartition("/")[2]
    refuse = f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'
    await asyncio.to_thread(postgres_server.as_superuser, refuse)
    migrations = parcels(tmp_path, MAKE_BOX)
    with pytest.raises(Temporary):
        await upgrade(postgres_url, migrations)
    with pytest.raises(Temporary):
        await upgrade("postgresql+asyncpg://nobody@127.0.0.1:1/nowhere", migrations)
