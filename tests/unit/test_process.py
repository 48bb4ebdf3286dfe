"""The life of a process: its log, its health, its exit codes, its loops."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from loguru import logger

from lattice import process
from lattice.background import LONGEST_PAUSE_S, Background, pause_s
from lattice.errors import Conflict
from lattice.metrics.every_process import LOG_RECORDS
from lattice.process_health import Readiness
from lattice.process_log import log_context, set_up_logging
from lattice.settings import ProcessSettings

WAIT_S = 20.0


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    set_up_logging("registry", ProcessSettings(), stream=stream)
    yield stream
    logger.remove()
    logging.basicConfig(force=True)


def records(log: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_a_record_is_one_line_with_its_context(log: io.StringIO) -> None:
    with log_context(request_id="r-1"), log_context(operation_id="op-1", absent=None):
        logger.info("placed {}\nhere", "orders")
    logger.info("outside")
    inside, outside = records(log)
    assert inside["message"] == "placed orders\nhere"
    assert (inside["service"], inside["request_id"], inside["operation_id"]) == ("registry", "r-1", "op-1")
    assert "request_id" not in outside
    assert "absent" not in inside


def test_records_are_counted_by_level(log: io.StringIO) -> None:
    counted = LOG_RECORDS.labels("error")._value
    before = counted.get()
    logger.error("once")
    logging.getLogger("a.library").error("twice")
    assert counted.get() - before == 2


def test_an_exception_is_told_without_the_values_of_variables(log: io.StringIO) -> None:
    password = "hunter" + "2"
    try:
        raise RuntimeError("broke" if password else "")
    except RuntimeError:
        logger.exception("failed")
    [record] = records(log)
    assert isinstance(record["exception"], dict)
    assert (record["exception"]["type"], record["exception"]["message"]) == ("RuntimeError", "broke")
    assert "hunter2" not in log.getvalue()


def test_requests_that_a_process_makes_are_no_news(log: io.StringIO) -> None:
    logging.getLogger("httpx").info("HTTP Request: GET …")
    assert records(log) == []


def test_the_standard_librarys_log_goes_the_same_way(log: io.StringIO) -> None:
    logging.getLogger("some.library").warning("from %s", "there")
    [record] = records(log)
    assert (record["message"], record["level"], record["logger"]) == ("from there", "warning", "some.library")


class Living:
    """A process under test: its readiness, its stop event, its address."""

    def __init__(
        self, folder: Path, build: process.Build[ProcessSettings], drain_timeout_s: float = 5.0
    ) -> None:
        self.port_file = folder / "port"
        self.settings = ProcessSettings(health_port_file=self.port_file, drain_timeout_s=drain_timeout_s)
        self.readiness, self.stop = Readiness(), asyncio.Event()
        self.task = asyncio.create_task(
            process.live("test", self.settings, build, readiness=self.readiness, stop=self.stop)
        )

    async def get(self, path: str) -> httpx.Response:
        await until(self.port_file.exists)
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.get(f"http://127.0.0.1:{self.port_file.read_text().strip()}{path}")


async def until(wanted: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not wanted():
            await asyncio.sleep(0.01)


async def test_ready_says_what_is_missing(tmp_path: Path) -> None:
    problem = "no link to NATS"

    async def bus() -> str:
        return problem

    async def broken() -> str:
        raise OSError("refused")

    @asynccontextmanager
    async def build(_: ProcessSettings) -> AsyncIterator[process.Checks]:
        yield {"bus": bus, "database": broken}

    living = Living(tmp_path, build)
    answer = await living.get("/readyz")
    await until(lambda: living.readiness.stage == "")
    answer = await living.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"bus": "no link to NATS", "database": "refused"}
    living.stop.set()
    assert await living.task == process.DONE


async def test_it_is_alive_and_not_ready_while_it_starts(tmp_path: Path) -> None:
    @asynccontextmanager
    async def build(_: ProcessSettings) -> AsyncIterator[process.Checks]:
        await asyncio.Event().wait()
        yield {}

    living = Living(tmp_path, build)
    assert (await living.get("/healthz")).status_code == 200
    assert (await living.get("/readyz")).json()["checks"] == {"process": "starting"}
    living.stop.set()
    assert await living.task == process.DONE


async def test_metrics_and_unknown_paths(tmp_path: Path) -> None:
    @asynccontextmanager
    async def build(_: ProcessSettings) -> AsyncIterator[process.Checks]:
        yield {}

    living = Living(tmp_path, build)
    await until(lambda: living.readiness.stage == "")
    assert (await living.get("/readyz")).status_code == 200
    assert "lattice_process_ready 1.0" in (await living.get("/metrics")).text
    assert (await living.get("/secrets")).status_code == 404
    living.stop.set()
    assert await living.task == process.DONE


async def test_a_build_that_fails_ends_the_process_with_1(tmp_path: Path) -> None:
    @asynccontextmanager
    async def build(_: ProcessSettings) -> AsyncIterator[process.Checks]:
        raise RuntimeError("no such folder")
        yield {}

    assert await Living(tmp_path, build).task == process.FAILED


async def test_a_start_that_is_refused_is_told_in_a_sentence_without_a_trace(log: io.StringIO) -> None:
    @asynccontextmanager
    async def build(_: ProcessSettings) -> AsyncIterator[process.Checks]:
        raise Conflict("This machine has an agent already.")
        yield {}

    assert await process.live("agent", ProcessSettings(), build, stop=asyncio.Event()) == process.FAILED
    last = records(log)[-1]
    assert last["message"] == "agent cannot start: This machine has an agent already."
    assert (last["level"], "exception" in last) == ("error", False)


async def test_a_fault_keeps_its_trace(log: io.StringIO) -> None:
    @asynccontextmanager
    async def build(_: ProcessSettings) -> AsyncIterator[process.Checks]:
        raise RuntimeError("broke")
        yield {}

    assert await process.live("agent", ProcessSettings(), build, stop=asyncio.Event()) == process.FAILED
    assert "exception" in records(log)[-1]


async def test_what_does_not_end_in_time_is_cut_short(tmp_path: Path) -> None:
    @asynccontextmanager
    async def build(_: ProcessSettings) -> AsyncIterator[process.Checks]:
        yield {}
        await asyncio.Event().wait()

    living = Living(tmp_path, build, drain_timeout_s=0.05)
    await until(lambda: living.readiness.stage == "")
    living.stop.set()
    assert await living.task == process.FAILED


PROGRAM = """
from contextlib import asynccontextmanager
from pathlib import Path
from lattice.process import load, run
from lattice.settings import ProcessSettings

@asynccontextmanager
async def build(settings):
    Path("up").touch()
    yield {}
    Path("down").touch()

raise SystemExit(run("test", load(ProcessSettings), build))
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_0(tmp_path: Path, signum: signal.Signals) -> None:
    child = start_child(tmp_path, {})
    deadline = time.monotonic() + WAIT_S
    while not (tmp_path / "up").exists():
        assert time.monotonic() < deadline, "the child did not start"
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signum)
    _, errors = child.communicate(timeout=WAIT_S)
    assert child.returncode == process.DONE
    assert (tmp_path / "down").exists()
    assert [json.loads(line)["message"] for line in errors.splitlines()][1:] == ["started", "ending", "ended"]


def test_a_wrong_setting_is_named_and_ends_with_2(tmp_path: Path) -> None:
    child = start_child(tmp_path, {"LATTICE_HEALTH_PORT": "many"})
    _, errors = child.communicate(timeout=WAIT_S)
    assert child.returncode == process.WRONG_SETTINGS
    assert "LATTICE_HEALTH_PORT" in errors
    assert "Traceback" not in errors


def start_child(folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    root = str(Path(process.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_a_failed_loop_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lattice.background.FIRST_PAUSE_S", 0.0)
    runs: list[int] = []
    done = asyncio.Event()

    async def loop() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise RuntimeError("again")
        done.set()

    async with Background() as background, asyncio.timeout(WAIT_S):
        background.start("loop", loop)
        await done.wait()
    assert len(runs) == 3


async def test_leaving_the_block_ends_the_loops() -> None:
    ended, running = asyncio.Event(), asyncio.Event()

    async def loop() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with Background() as background:
        background.start("loop", loop)
        await running.wait()
    assert ended.is_set()


def test_pauses_grow_and_are_bounded() -> None:
    assert pause_s(1, 1.0) == 0.5
    assert pause_s(2, 1.0) == 1.0
    assert pause_s(1000, 1.0) == LONGEST_PAUSE_S
    assert pause_s(3, 0.0) == pause_s(3, 1.0) / 2


def test_a_process_may_open_all_that_the_system_allows() -> None:
    code = (
        "import resource; from lattice.process import use_all_descriptors; use_all_descriptors();"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    few = ["prlimit", "--nofile=256:2000", sys.executable, "-c", code]
    assert subprocess.run(few, check=True, capture_output=True, text=True).stdout.split() == ["2000", "2000"]
