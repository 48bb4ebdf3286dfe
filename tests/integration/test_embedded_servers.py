"""The embedded database and bus under the real supervisor, killed in every order."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from standalone import nats_server, postgres
from standalone.http_check import http_ready
from standalone.process_spec import ProcessSpec
from standalone.processes import ProcessIdentity, die_with_parent, is_running
from standalone.supervisor import Supervisor, SupervisorStatus, read_status
from tests.fixtures.nats import make_nats_server
from tests.fixtures.postgres import make_postgres_server

REPOSITORY = Path(__file__).parents[2]

HOLD = """
import asyncio, sys
from pathlib import Path
from tests.integration.test_embedded_servers import specs_in
from standalone.supervisor import Supervisor
async def main():
    folder = Path(sys.argv[1])
    supervisor = Supervisor(specs_in(folder, *(int(port) for port in sys.argv[2:])), status_file=folder / "status.json")
    await supervisor.start(timeout_s=30)
    print("up", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def specs_in(folder: Path, nats_port: int, monitor_port: int, postgres_port: int) -> list[ProcessSpec]:
    """The processes of servers that were made in `folder` before."""
    config = postgres.PostgresConfig(folder / "postgres", postgres_port)
    runner = postgres.choose_runner(config.folder, config.cluster)
    argv = (
        str(Path(sys.executable).with_name("nats-server")),
        "-c",
        str(folder / "nats" / "nats" / "nats.conf"),
    )
    bus = ProcessSpec(
        "nats",
        argv,
        folder / "nats.log",
        ready=http_ready(f"http://127.0.0.1:{monitor_port}/healthz"),
        death_signal=signal.SIGTERM,
    )
    return [bus, postgres.process_spec(config, runner, log_file=folder / "postgres.log")]


class Platform:
    """Both servers, made in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nats = make_nats_server(folder / "nats")
        nats_server.write_config(self.nats.config)
        self.postgres = make_postgres_server(folder / "postgres")

    @property
    def specs(self) -> list[ProcessSpec]:
        log = self.folder / "nats.log"
        bus = nats_server.process_spec(self.nats.binary, self.nats.config, log_file=log)
        config, runner = self.postgres.config, self.postgres.runner
        return [bus, postgres.process_spec(config, runner, log_file=self.folder / "postgres.log")]

    @property
    def ports(self) -> list[str]:
        nats = self.nats.config
        return [str(nats.port), str(nats.monitor_port), str(self.postgres.config.port)]

    @property
    def status_file(self) -> Path:
        return self.folder / "status.json"


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform(tmp_path)


def identities(status: SupervisorStatus) -> list[ProcessIdentity]:
    return [
        ProcessIdentity(each.pid, each.started_ticks)
        for each in status.processes
        if each.pid is not None and each.started_ticks is not None
    ]


async def eventually(holds: Callable[[], bool], *, timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.02)


async def one(platform: Platform) -> object:
    engine = create_async_engine(postgres.superuser_url(platform.postgres.config))
    try:
        async with engine.connect() as connection:
            return await connection.scalar(text("SELECT 1"))
    finally:
        await engine.dispose()


async def test_both_start_together_and_stop_cleanly(platform: Platform) -> None:
    supervisor = Supervisor(platform.specs, status_file=platform.status_file)
    await supervisor.start(timeout_s=30)
    running = identities(supervisor.status)
    assert len(running) == 2 and await one(platform) == 1
    await supervisor.stop()
    assert not any(is_running(each) for each in running)
    assert "shut down" in (platform.folder / "postgres.log").read_text()
    assert [each.last_exit for each in supervisor.status.processes] == [
        "ended with status 0; it was asked to stop",
        "ended with status 0; it was asked to stop",
    ]


async def test_a_killed_server_comes_back_by_itself(platform: Platform) -> None:
    supervisor = Supervisor(platform.specs, status_file=platform.status_file)
    await supervisor.start(timeout_s=30)
    try:
        for each in identities(supervisor.status):
            os.kill(each.pid, signal.SIGKILL)
        await eventually(lambda: all(each.restarts and each.ready for each in supervisor.status.processes))
        assert await one(platform) == 1
    finally:
        await supervisor.stop()


@pytest.fixture
def held(platform: Platform) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that supervises both."""
    arguments = [sys.executable, "-c", HOLD, str(platform.folder), *platform.ports]
    guard = die_with_parent(signal.SIGKILL)
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, preexec_fn=guard, cwd=REPOSITORY)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    yield process
    process.kill()
    process.wait()


async def test_after_a_killed_supervisor_the_next_one_starts_at_once(
    platform: Platform, held: subprocess.Popen[bytes]
) -> None:
    status = read_status(platform.status_file)
    assert status is not None and len(identities(status)) == 2
    held.kill()
    held.wait()
    supervisor = Supervisor(platform.specs, status_file=platform.status_file)
    await supervisor.start(timeout_s=30)
    try:
        assert not any(is_running(each) for each in identities(status))
        assert await one(platform) == 1
    finally:
        await supervisor.stop()
