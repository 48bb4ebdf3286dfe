"""Supervision: decisions by themselves, then real processes that crash, hang, wait for each other and are
orphaned.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.errors import Invalid, Temporary
from standalone import processes, supervisor
from standalone.log_files import open_log, rotate_if_large
from standalone.process_spec import ProcessSpec
from standalone.processes import ProcessIdentity, look_up
from standalone.restarts import HOPELESS_AFTER, Exit, Leave, Restart, RestartPolicy, decide, is_hopeless

QUICK = RestartPolicy(initial_s=0.02, max_s=0.1)


# --- what to do about an exit ------------------------------------------------------------------------------


def test_pauses_grow_up_to_a_limit() -> None:
    policy = RestartPolicy(initial_s=1, max_s=10, jitter=0)
    delays = []
    for failures in range(6):
        answer = decide(Exit(1, ran_s=0.1, failures_before=failures), policy, stopping=False, chance=0.5)
        assert isinstance(answer, Restart)
        delays.append(answer.delay_s)
    assert delays == [1, 2, 4, 8, 10, 10]


def test_one_that_ran_well_begins_anew() -> None:
    answer = decide(Exit(1, ran_s=61, failures_before=9), RestartPolicy(), stopping=False, chance=0.5)
    assert isinstance(answer, Restart) and answer.failures == 1


@pytest.mark.parametrize(("stopping", "again"), [(True, True), (False, False), (True, False)])
def test_it_stays_down_when_asked_to_stop_or_not_to_restart(*, stopping: bool, again: bool) -> None:
    policy = RestartPolicy(again=again)
    assert isinstance(decide(Exit(0, 1, 0), policy, stopping=stopping, chance=0.5), Leave)


def test_the_reason_names_the_signal() -> None:
    assert "signal 9" in decide(Exit(-9, 1.0, 0), RestartPolicy(), stopping=False, chance=0).reason


@pytest.mark.parametrize(
    ("failures", "was_ready", "hopeless"),
    [(HOPELESS_AFTER, False, True), (HOPELESS_AFTER - 1, False, False), (HOPELESS_AFTER, True, False)],
)
def test_only_one_that_was_never_ready_is_hopeless(*, failures: int, was_ready: bool, hopeless: bool) -> None:
    assert is_hopeless(Restart(1.0, failures, "it fell"), was_ready=was_ready) is hopeless


@given(st.integers(-64, 255), st.floats(0, 1e6), st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_a_pause_is_never_longer_than_the_limit_allows(
    returncode: int, ran_s: float, failures: int, chance: float, jitter: float
) -> None:
    policy = RestartPolicy(jitter=jitter)
    answer = decide(Exit(returncode, ran_s, failures), policy, stopping=False, chance=chance)
    assert isinstance(answer, Restart) and 0 <= answer.delay_s <= policy.max_s * (1 + jitter)


# --- the order ---------------------------------------------------------------------------------------------


def spec(name: str, code: str, folder: Path, **options: Any) -> ProcessSpec:
    """A Python process that runs `code`."""
    options = {"policy": QUICK, "stop_timeout_s": 5.0, "env": {"PATH": os.environ["PATH"]}, **options}
    argv = (sys.executable, "-I", "-S", "-u", "-c", code)
    return ProcessSpec(name, argv, folder / "logs" / f"{name}.log", **options)


SLEEP = "import time; time.sleep(600)"
ON_TERM = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: {}); print('up'); time.sleep(600)"
)


def test_those_that_wait_for_nobody_start_together(tmp_path: Path) -> None:
    specs = [
        spec("bus", SLEEP, tmp_path),
        spec("db", SLEEP, tmp_path),
        spec("registry", SLEEP, tmp_path, after=("bus", "db")),
        spec("gateway", SLEEP, tmp_path, after=("registry",)),
    ]
    assert supervisor.start_order(specs) == [("bus", "db"), ("registry",), ("gateway",)]


@pytest.mark.parametrize("afters", [{"a": ("b",), "b": ("a",)}, {"a": ("missing",), "b": ()}])
def test_an_impossible_order_is_refused(tmp_path: Path, afters: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(Invalid, match="wait"):
        supervisor.start_order([spec(name, SLEEP, tmp_path, after=after) for name, after in afters.items()])


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="distinct"):
        supervisor.start_order([spec("a", SLEEP, tmp_path), spec("a", SLEEP, tmp_path)])


# --- real processes ----------------------------------------------------------------------------------------

Start = Callable[[Sequence[ProcessSpec]], supervisor.Supervisor]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Start]:
    made: list[supervisor.Supervisor] = []

    def one(specs: Sequence[ProcessSpec]) -> supervisor.Supervisor:
        made.append(supervisor.Supervisor(specs, status_file=tmp_path / "run" / "status.json"))
        return made[-1]

    yield one
    for each in made:
        await each.stop()


async def eventually(holds: Callable[[], bool], *, timeout_s: float = 15) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.01)


def prints(path: Path, text: str) -> Callable[[], Any]:
    async def ready() -> bool:
        return path.exists() and text in path.read_text()

    return ready


async def test_a_crashed_process_comes_back(tmp_path: Path, make: Start) -> None:
    watched = make([spec("a", SLEEP, tmp_path)])
    await watched.start(timeout_s=10)
    first = watched.status.processes[0]
    assert first.pid is not None and first.ready and first.restarts == 0
    os.kill(first.pid, signal.SIGKILL)
    await eventually(lambda: watched.status.processes[0].restarts == 1 and watched.status.processes[0].ready)
    second = watched.status.processes[0]
    assert second.pid not in (None, first.pid)
    assert second.last_exit is not None and "signal 9" in second.last_exit


async def test_a_crashed_process_comes_back_also_where_nothing_can_be_written(
    tmp_path: Path, make: Start
) -> None:
    watched = make([spec("a", SLEEP, tmp_path)])
    await watched.start(timeout_s=10)
    first = watched.status.processes[0]
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").write_text("no folder any more")
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    await eventually(lambda: watched.status.processes[0].restarts == 1 and watched.status.processes[0].ready)


async def test_one_waits_until_the_other_is_ready(tmp_path: Path, make: Start) -> None:
    log = tmp_path / "logs" / "db.log"
    slow = spec(
        "db", f"import time; time.sleep(0.3); print('ready'); {SLEEP}", tmp_path, ready=prints(log, "ready")
    )
    seen = f"import pathlib; print(pathlib.Path({str(log)!r}).read_text()); {SLEEP}"
    user = spec("user", seen, tmp_path, after=("db",), ready=prints(tmp_path / "logs" / "user.log", "ready"))
    await make([user, slow]).start(timeout_s=10)
    assert "ready" in (tmp_path / "logs" / "user.log").read_text()


async def test_a_start_that_fails_says_what_and_why(tmp_path: Path, make: Start) -> None:
    code, once = "import sys; sys.exit('no disk')", RestartPolicy(again=False)
    never = spec("never", code, tmp_path, policy=once, ready=prints(tmp_path / "none", ""))
    waiting = spec("waiting", SLEEP, tmp_path, after=("never",))
    with pytest.raises(Temporary, match=r"(?s)never \(ended with status 1.*no disk"):
        await make([never, waiting]).start(timeout_s=10)


async def test_a_start_that_fails_again_and_again_is_not_waited_for(tmp_path: Path, make: Start) -> None:
    falls = spec(
        "falls",
        "import sys; sys.exit('port in use')",
        tmp_path,
        policy=QUICK,
        ready=prints(tmp_path / "no", ""),
    )
    waiting = spec("waiting", SLEEP, tmp_path, after=("falls",))
    watched = make([falls, waiting])
    with pytest.raises(
        Temporary, match=r"(?s)^It does not start: falls \(ended with status 1.*port in use"
    ) as raised:
        await watched.start(timeout_s=60)
    assert "waiting" not in str(raised.value)


async def test_a_program_that_is_missing_is_tried_again(tmp_path: Path, make: Start) -> None:
    missing = ProcessSpec("m", (str(tmp_path / "none"),), tmp_path / "m.log", policy=QUICK)
    watched = make([missing])
    with pytest.raises(Temporary, match=r"m \(ended with status 127"):
        await watched.start(timeout_s=0.5)
    assert watched.status.processes[0].restarts >= 1


async def test_it_stops_in_reverse_order_and_politely(tmp_path: Path, make: Start) -> None:
    order = tmp_path / "order"
    note = f"(open({str(order)!r}, 'a').write('{{}} '), sys.exit(0))"
    specs = [
        spec(
            name,
            ON_TERM.format(note.format(name)),
            tmp_path,
            after=after,
            ready=prints(tmp_path / "logs" / f"{name}.log", "up"),
        )
        for name, after in (("db", ()), ("registry", ("db",)), ("gateway", ("registry",)))
    ]
    watched = make(specs)
    await watched.start(timeout_s=15)
    await watched.stop()
    assert order.read_text().split() == ["gateway", "registry", "db"]
    assert [process.pid for process in watched.status.processes] == [None, None, None]


async def test_one_that_ignores_the_request_is_killed_with_all_it_started(
    tmp_path: Path, make: Start
) -> None:
    code = ON_TERM.format("None").replace(
        "print('up')",
        f"import subprocess; print(subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).pid, 'up')",
    )
    log = tmp_path / "logs" / "deaf.log"
    watched = make([spec("deaf", code, tmp_path, stop_timeout_s=0.2, ready=prints(log, "up"))])
    await watched.start(timeout_s=10)
    grandchild = int(log.read_text().split()[0])
    await watched.stop()
    await eventually(lambda: look_up(grandchild) is None or look_up(grandchild).zombie)  # type: ignore[union-attr]


async def test_stopping_interrupts_a_pause_and_a_preparation(tmp_path: Path, make: Start) -> None:
    async def for_ever() -> None:
        await asyncio.sleep(600)

    long_pause = RestartPolicy(initial_s=600)
    specs = [
        spec("pausing", "raise SystemExit(1)", tmp_path, policy=long_pause),
        spec("preparing", SLEEP, tmp_path, prepare=for_ever),
        spec("waiting", SLEEP, tmp_path, after=("preparing",)),
    ]
    watched = make(specs)
    with pytest.raises(Temporary):
        await watched.start(timeout_s=0.5)
    began = time.monotonic()
    await watched.stop()
    assert time.monotonic() - began < 5


async def test_a_failed_preparation_counts_as_a_failed_start(tmp_path: Path, make: Start) -> None:
    attempts: list[int] = []

    async def second_time_lucky() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise Temporary("another server is in the way")

    watched = make([spec("a", SLEEP, tmp_path, prepare=second_time_lucky)])
    await watched.start(timeout_s=10)
    await eventually(lambda: len(attempts) == 2 and watched.status.processes[0].ready)


async def test_readiness_is_followed_both_ways(tmp_path: Path, make: Start) -> None:
    flag = tmp_path / "flag"
    flag.touch()

    async def ready() -> bool:
        if not flag.exists():
            raise OSError("no answer")
        return True

    watched = make([spec("a", SLEEP, tmp_path, ready=ready)])
    await watched.start(timeout_s=10)
    flag.unlink()
    await eventually(lambda: not watched.status.processes[0].ready)
    assert watched.status.processes[0].restarts == 0


# --- the status file, and who is who -----------------------------------------------------------------------


async def test_the_status_file_follows_and_names_the_supervisor(tmp_path: Path, make: Start) -> None:
    watched = make([spec("a", SLEEP, tmp_path)])
    await watched.start(timeout_s=10)
    path = tmp_path / "run" / "status.json"
    found = supervisor.read_status(path)
    assert found == watched.status and found is not None
    assert found.alive and found.pid == os.getpid()
    await watched.stop()
    after = supervisor.read_status(path)
    assert after is not None and after.processes[0].pid is None


def test_a_missing_or_broken_status_file_is_no_status(tmp_path: Path) -> None:
    assert supervisor.read_status(tmp_path / "none") is None
    (tmp_path / "broken").write_text('{"pid": "x"}')
    assert supervisor.read_status(tmp_path / "broken") is None


def test_a_reused_pid_is_never_signalled() -> None:
    process = subprocess.Popen(["sleep", "600"])
    try:
        state = look_up(process.pid)
        assert state is not None
        earlier = ProcessIdentity(process.pid, state.identity.started_ticks - 1)
        assert not processes.is_running(earlier)
        assert not processes.send_signal(earlier, signal.SIGKILL)
        assert process.poll() is None
        assert processes.send_signal(state.identity, signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        assert not processes.send_signal(state.identity, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()


SUPERVISE = """
import asyncio, sys
from pathlib import Path
from standalone.process_spec import ProcessSpec
from standalone.supervisor import Supervisor
async def main():
    folder = Path(sys.argv[1])
    argv = (sys.executable, "-I", "-S", "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)")
    await Supervisor(
        [ProcessSpec("a", argv, folder / "a.log")], status_file=folder / "status.json"
    ).start(timeout_s=20)
    print("up", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", SUPERVISE, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    await asyncio.to_thread(parent.stdout.readline)
    status = supervisor.read_status(tmp_path / "status.json")
    assert status is not None and status.alive
    child = status.processes[0]
    assert child.pid is not None and child.started_ticks is not None
    identity = ProcessIdentity(child.pid, child.started_ticks)
    assert processes.is_running(identity)
    parent.kill()
    parent.wait()
    await eventually(lambda: not processes.is_running(identity))
    assert not status.alive


# --- logs --------------------------------------------------------------------------------------------------


def test_a_large_log_is_set_aside_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with open_log(path) as log:
        log.write(b"x" * 100)
        assert not rotate_if_large(path, max_bytes=100)
        log.write(b"y")
        assert rotate_if_large(path, max_bytes=100)
        log.write(b"new")
    assert path.read_bytes() == b"new"
    assert (tmp_path / "a.log.1").read_bytes() == b"x" * 100 + b"y"
    assert not rotate_if_large(tmp_path / "none")
