"""Bringing a service's tables up to date when it starts.

Each service owns one schema, with its own folder `migrations/versions` and its own table of versions, so services are upgraded apart from
each other.  All of an upgrade is one transaction under a lock: of several replicas that start together one upgrades and the others find it
done, and an upgrade that fails leaves nothing behind.

    MIGRATIONS = Migrations(schema="registry", folder=Path(__file__).with_name("migrations"), metadata=metadata)
    await upgrade_when_there(settings.url, MIGRATIONS)

`missing_changes` writes the body of a new migration: what the row classes have and the tables do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from loguru import logger
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel import AutoString

from lattice.errors import LatticeError, Temporary
from lattice.postgres_errors import tell
from lattice.postgres_locks import lock_key

RETRY_S = 1.0
VERSION_TABLE = "schema_version"
# One lock for all services: Alembic's `op` is one per process, and tests run several services in one.
_LOCK = lock_key("lattice migrations")
T = TypeVar("T")


class NewerSchema(LatticeError):
    """The tables were made by a newer release, with migrations that this one does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrations:
    """A service's tables as they should be, and the steps that lead there."""

    schema: str
    folder: Path
    metadata: sa.MetaData


async def upgrade(url: str, migrations: Migrations) -> None:
    """Apply what is missing.  Temporary when the database is away, NewerSchema when it is ahead of this release."""
    await _run(url, lambda connection: _upgrade(connection, migrations))


async def upgrade_when_there(url: str, migrations: Migrations) -> None:
    """Apply what is missing as soon as the database answers: no process needs another to be up in order to start."""
    while True:
        try:
            return await upgrade(url, migrations)
        except Temporary as error:
            logger.warning("waiting for the database: {}", error)
            await asyncio.sleep(RETRY_S)


async def missing_changes(url: str, migrations: Migrations) -> str:
    """The body of a migration that would bring the tables to the row classes; empty when nothing is missing."""
    return await _run(url, lambda connection: _missing_changes(connection, migrations))


async def _run(url: str, work: Callable[[sa.Connection], T]) -> T:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    except (DBAPIError, OSError) as error:
        told = tell(_cause(error))
        if told is None:
            raise
        raise told from error
    finally:
        await engine.dispose()


def _cause(error: Exception) -> Exception:
    """The driver's own error beneath SQLAlchemy's."""
    below = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig is not None else error
    return below if isinstance(below, Exception) else error


def _upgrade(connection: sa.Connection, migrations: Migrations) -> None:
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    connection.execute(sa.schema.CreateSchema(migrations.schema, if_not_exists=True))
    script = ScriptDirectory(str(migrations.folder))

    def steps(present: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs("head", present)  # as Alembic's own `upgrade` command finds them

    environment = EnvironmentContext(Config(), script, fn=steps, destination_rev="head")
    environment.configure(connection=connection, **_versions(migrations))
    try:
        environment.run_migrations()
    except CommandError as error:
        raise NewerSchema(
            f"The tables of {migrations.schema} cannot be brought to this release: {error}. "
            "They were probably made by a newer one: install that, or restore a backup."
        ) from error


def _missing_changes(connection: sa.Connection, migrations: Migrations) -> str:
    def of_this_service(name: str | None, kind: str, _parents: Any) -> bool:
        return kind != "schema" or name == migrations.schema

    options = {"include_schemas": True, "include_name": of_this_service, **_versions(migrations)}
    context = MigrationContext.configure(connection, opts=options)
    found = produce_migrations(context, migrations.metadata).upgrade_ops
    assert found is not None, "a comparison always has operations, if none"
    if found.is_empty():
        return ""
    return render_python_code(found, render_item=_plain_type, migration_context=context)


def _versions(migrations: Migrations) -> dict[str, Any]:
    return {"version_table": VERSION_TABLE, "version_table_schema": migrations.schema}


def _plain_type(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """A migration speaks of SQLAlchemy's own types only, so it still reads when SQLModel renames its."""
    if kind != "type" or not isinstance(item, sa.TypeDecorator):
        return False
    if isinstance(item, AutoString):
        return "sa.String()"
    return "sa.DateTime(timezone=True)" if isinstance(item.impl_instance, sa.DateTime) else False
