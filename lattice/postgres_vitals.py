"""How the database fares: what any of its users may know of it, in one question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lattice.postgres_errors import translated

if TYPE_CHECKING:
    from lattice.postgres_connections import Connections

# Of the connections of other roles a plain user sees that they are there, and not what they do.
_QUESTION = """
select pg_database_size(current_database())::bigint as size_bytes,
       current_setting('max_connections')::int as connections_limit,
       stats.xact_commit::bigint as committed, stats.xact_rollback::bigint as rolled_back, stats.deadlocks::bigint as deadlocks,
       (select count(*) from pg_stat_activity where datname = current_database() and state = 'active' and wait_event_type = 'Lock') as waiting,
       (select count(*) from pg_stat_activity where datname = current_database() and state = 'active') as active,
       (select count(*) from pg_stat_activity where datname = current_database() and state = 'idle') as idle,
       (select count(*) from pg_stat_activity where datname = current_database()) as connections
from pg_stat_database as stats where stats.datname = current_database()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresVitals:
    """The database and its connections; `waiting` are those of the active ones that wait for a lock.  `pool_*` are this process's own."""

    size_bytes: int
    connections_limit: int
    committed: int
    rolled_back: int
    deadlocks: int
    waiting: int
    active: int
    idle: int
    connections: int
    pool_used: int
    pool_idle: int


async def look(connections: Connections) -> PostgresVitals:
    """Ask.  Raises Temporary when the database is away."""
    connection = await connections.take()
    try:
        with translated():
            row = await connection.fetchrow(_QUESTION)
    finally:
        await connections.give_back(connection, roll_back=False)
    used, idle = connections.in_use
    return PostgresVitals(**dict(row or {}), pool_used=used, pool_idle=idle)
