"""The embedded database: a real Postgres 16 on this machine's loopback, made at first start.

This module says how to run it; the supervisor runs it.  Everything is durable (fsync, checksums), passwords
are SCRAM, and there is no unix socket, since the path of one may not exceed 107 bytes and a data directory
may be deeper.  The cluster is made beside its final place and renamed when complete, so a start that was
interrupted is simply repeated.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import asyncpg

from lattice.errors import Invalid, LatticeError, Temporary
from lattice.files import flush_folder, write_durably
from standalone.postgres_orphan import clear_the_way, is_ready
from standalone.postgres_user import Runner, choose_runner
from standalone.process_spec import ProcessSpec

__all__ = [
    "PostgresConfig",
    "Runner",
    "argv",
    "as_superuser",
    "choose_runner",
    "clear_the_way",
    "ensure_cluster",
    "ensure_database",
    "ensure_guest",
    "environment",
    "is_ready",
    "process_spec",
    "superuser_url",
    "url",
]

LOOPBACK = "127.0.0.1"
INITDB_TIMEOUT_S = 120.0
CONNECT_TIMEOUT_S = 5.0

DURABLE: Mapping[str, str] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "replica",
    "max_connections": "200",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


@dataclass(frozen=True, slots=True)
class PostgresConfig:
    """Where a cluster lies, on which port it listens, and what differs from the durable settings."""

    folder: Path
    port: int
    superuser: str = "lattice_admin"
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def cluster(self) -> Path:
        """The only folder that belongs to Postgres' own user."""
        return self.folder / "cluster"

    @property
    def data(self) -> Path:
        return self.cluster / "data"

    @property
    def password_file(self) -> Path:
        return self.folder / "superuser-password"

    @property
    def password(self) -> str:
        return self.password_file.read_text().strip()


def ensure_cluster(config: PostgresConfig, runner: Runner) -> bool:
    """Make the cluster if there is none; True if it was made now.  Raises LatticeError with what `initdb`
    said.
    """
    config.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    config.cluster.mkdir(mode=0o700, exist_ok=True)
    _own(config.cluster, runner)
    if config.data.exists():
        return False
    if not config.password_file.exists():
        write_durably(config.password_file, secrets.token_urlsafe(24).encode())
    _initialise(config, runner)
    return True


def argv(config: PostgresConfig, runner: Runner) -> tuple[str, ...]:
    """The server's command line; it runs in the foreground as a direct child."""
    listening = {"listen_addresses": LOOPBACK, "port": str(config.port), "unix_socket_directories": ""}
    settings = {**DURABLE, **config.settings, **listening}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return runner.command("postgres", "-D", str(runner.cluster / "data"), *options)


def process_spec(config: PostgresConfig, runner: Runner, *, log_file: Path) -> ProcessSpec:
    """How the supervisor runs it, once the cluster is made: a clean shutdown, and nobody else on its
    files.
    """

    async def ready() -> bool:
        return is_ready(config.data)

    async def prepare() -> None:
        await clear_the_way(config.data)

    return ProcessSpec(
        name="postgres",
        argv=argv(config, runner),
        env=environment(),
        log_file=log_file,
        ready=ready,
        prepare=prepare,
        stop_signal=signal.SIGINT,
        stop_timeout_s=60.0,  # the last checkpoint of a busy database takes a while
        death_signal=signal.SIGINT,
    )


def environment() -> dict[str, str]:
    """All that Postgres is told by its environment."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def url(config: PostgresConfig, *, user: str, password: str, database: str) -> str:
    """The address for SQLAlchemy and asyncpg; it holds the password, so it does not belong in a log."""
    who, secret, where = (quote(part, safe="") for part in (user, password, database))
    return f"postgresql+asyncpg://{who}:{secret}@{LOOPBACK}:{config.port}/{where}"


def superuser_url(config: PostgresConfig) -> str:
    """The address with every right, for making databases and for backups only."""
    return url(config, user=config.superuser, password=config.password, database="postgres")


async def ensure_database(config: PostgresConfig, *, role: str, password: str, database: str) -> None:
    """A role without special rights and a database of its own.  Safe to repeat; the password is set each
    time.
    """
    async with as_superuser(config) as connection:
        await _ensure_role(connection, role, password)
        await _ensure_database(connection, role, database)


async def ensure_guest(config: PostgresConfig, *, role: str, password: str, database: str) -> None:
    """A role without special rights that may make schemas of its own in another one's database.  Safe to
    repeat.
    """
    async with as_superuser(config) as connection:
        await _ensure_role(connection, role, password)
        grant = f"GRANT CONNECT, CREATE ON DATABASE {_quoted(database)} TO {_quoted(role)}"
        await connection.execute(grant)


@asynccontextmanager
async def as_superuser(config: PostgresConfig) -> AsyncIterator[asyncpg.Connection]:
    """A connection with every right.  Raises Temporary where there is none, or a statement in it fails."""
    try:
        connection = await asyncpg.connect(
            host=LOOPBACK,
            port=config.port,
            user=config.superuser,
            password=config.password,
            database="postgres",
            timeout=CONNECT_TIMEOUT_S,
        )
        try:
            yield connection
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        # Without its cause: the statement holds a password.
        raise Temporary(f"The embedded database does not do what it is asked: {error}") from None


async def _ensure_role(connection: asyncpg.Connection, role: str, password: str) -> None:
    exists = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
    verb = "ALTER" if exists else "CREATE"
    # CREATE ROLE takes no parameters, so Postgres itself quotes the password.
    literal = await connection.fetchval("SELECT quote_literal($1::text)", password)
    await connection.execute(f"{verb} ROLE {_quoted(role)} LOGIN PASSWORD {literal}")


async def _ensure_database(connection: asyncpg.Connection, role: str, database: str) -> None:
    if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", database):
        await connection.execute(f"CREATE DATABASE {_quoted(database)} OWNER {_quoted(role)}")
    await connection.execute(f"REVOKE ALL ON DATABASE {_quoted(database)} FROM PUBLIC")


def _quoted(name: str) -> str:
    if "\0" in name or not name:
        raise Invalid("The name of a role or database is empty or holds a zero byte.")
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _initialise(config: PostgresConfig, runner: Runner) -> None:
    unfinished, password = config.cluster / "data.new", config.cluster / "password.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        write_durably(password, config.password_file.read_bytes())
        _own(password, runner)
        _run_initdb(config, runner)
    finally:
        password.unlink(missing_ok=True)
    unfinished.rename(config.data)
    flush_folder(config.cluster)


def _run_initdb(config: PostgresConfig, runner: Runner) -> None:
    options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums"]
    command = runner.command(
        "initdb",
        f"--pgdata={runner.cluster / 'data.new'}",
        f"--username={config.superuser}",
        f"--pwfile={runner.cluster / 'password.new'}",
        *options,
    )
    outcome = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment(),
        cwd="/",
        timeout=INITDB_TIMEOUT_S,
        check=False,
    )
    if outcome.returncode != 0:
        said = (outcome.stderr or outcome.stdout).strip()[-800:]
        raise LatticeError(f"The embedded database cannot be made in {config.cluster}: {said}")


def _own(path: Path, runner: Runner) -> None:
    """Give Postgres' user what is its own, all of it only where the top says otherwise (a restored copy)."""
    if runner.owner is None or path.stat().st_uid == runner.owner[0]:
        return
    for each in _with_contents(path):
        os.chown(each, *runner.owner, follow_symlinks=False)


def _with_contents(path: Path) -> Iterator[Path]:
    yield path
    yield from path.rglob("*")
