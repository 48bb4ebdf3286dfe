"""What Postgres and the way to it can answer, as errors of Lattice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
from asyncpg.exceptions._base import DataError as ArgumentError

from lattice.errors import Conflict, Invalid, LatticeError, StaleVersion, Temporary

_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.exceptions.OperatorInterventionError,  # shutting down, starting up, cancelled by a time limit
    asyncpg.exceptions.ObjectNotInPrerequisiteStateError,  # the database takes no connections now; a lock was not to be had
    asyncpg.exceptions.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.exceptions.ReadOnlySQLTransactionError,  # a standby: the leader has just changed
    asyncpg.exceptions.InvalidTransactionStateError,  # ended by its idle time limit
    asyncpg.exceptions.InvalidAuthorizationSpecificationError,  # not set up yet, or a renewed password
    asyncpg.exceptions.InvalidCatalogNameError,  # not created yet
)
_AGAIN = (
    asyncpg.exceptions.TransactionRollbackError,  # deadlock, serialization
    asyncpg.exceptions.InvalidCachedStatementError,  # the table has just been migrated
)
_BAD_VALUE = (
    asyncpg.DataError,
    ArgumentError,
    asyncpg.exceptions.CheckViolationError,
    asyncpg.exceptions.NotNullViolationError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise the errors of Lattice instead of the driver's; what is our own fault stays as it is."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        told = tell(error)
        if told is None:
            raise
        raise told from error


def tell(error: Exception) -> LatticeError | None:
    """The error of Lattice for one of the driver's; None for what is our own fault."""
    if isinstance(
        error, (asyncpg.exceptions.UniqueViolationError, asyncpg.exceptions.ExclusionViolationError)
    ):
        return _conflict(error, "Another row has the same values")
    if isinstance(error, asyncpg.exceptions.ForeignKeyViolationError):
        return _conflict(error, "A row refers to one that does not exist, or is still referred to")
    if isinstance(error, asyncpg.exceptions.DivisionByZeroError):
        return StaleVersion()  # how a guarded write refuses itself, see `postgres_writes`
    if isinstance(error, _BAD_VALUE):
        return Invalid(f"The database refuses the value: {error}")
    if isinstance(error, _AGAIN):
        return Temporary(f"The database asks to try again: {error}")
    if isinstance(error, _AWAY):
        return Temporary(f"The database is away: {error or type(error).__name__}")
    return None


def _conflict(error: Any, what: str) -> Conflict:
    table = ".".join(filter(None, (error.schema_name, error.table_name)))
    detail = f"{what}: {error.detail or error.constraint_name} ({table})"
    return Conflict(detail, data={"constraint": error.constraint_name, "table": table})
