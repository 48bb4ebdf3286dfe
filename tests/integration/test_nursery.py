"""Processes that the nursery forks: as fresh as executed ones, the supervisor's own, and there also without a nursery."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from standalone import adopted
from standalone.adopted import Adopted
from standalone.forking import Nursery
from standalone.process_spec import ProcessSpec, python_argv
from standalone.processes import ProcessIdentity, is_running, look_up
from standalone.restarts import RestartPolicy
from standalone.spawning import Running, execute
from standalone.supervisor import Supervisor, read_status
from tests.fixtures.commands import REPOSITORY

NEWBORN = "tests.fixtures.newborn"
# With a locale, because without one Python adds another to its environment.
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "LC_ALL": "C.UTF-8"}
QUICK = RestartPolicy(initial_s=0.02, max_s=0.1)


def nursery_spec(folder: Path) -> ProcessSpec:
    argv = python_argv("standalone.nursery")
    return ProcessSpec("nursery", argv, folder / "nursery.log", env=ENVIRONMENT, policy=QUICK)


def newborn(folder: Path, name: str, **variables: str) -> ProcessSpec:
    log, env = folder / f"{name}.log", {**ENVIRONMENT, **variables}
    return ProcessSpec(name, python_argv(NEWBORN), log, env=env, module=NEWBORN, policy=QUICK)


@pytest.fixture
async def nursery(tmp_path: Path) -> AsyncIterator[Nursery]:
    made = Nursery(nursery_spec(tmp_path))
    await made.start()
    yield made
    await made.stop()


async def eventually(holds: Callable[[], Any], *, timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.01)


async def told(spec: ProcessSpec) -> dict[str, Any]:
    """What the program says of itself."""
    await eventually(lambda: spec.log_file.exists() and spec.log_file.read_text().endswith("}\n"))
    return dict(json.loads(spec.log_file.read_text().splitlines()[-1]))


async def end(process: Running) -> int:
    process.kill()
    return await process.wait()


# --- as if it had been executed ----------------------------------------------------------------------------


async def test_a_forked_process_is_as_fresh_as_an_executed_one(nursery: Nursery, tmp_path: Path) -> None:
    spec = replace(newborn(tmp_path, "a", OWN="1"), cwd=tmp_path)
    found = []
    for spawn in (execute, nursery.spawn):
        process = await spawn(spec)
        found.append((isinstance(process, Adopted), (await told(spec))["given"]))
        await end(process)
        spec.log_file.unlink()
    assert found == [(False, found[0][1]), (True, found[0][1])]


async def test_each_has_chances_of_its_own(nursery: Nursery, tmp_path: Path) -> None:
    specs = [newborn(tmp_path, name, LEAVE_WITH="0") for name in "ab"]
    for spec in specs:
        await (await nursery.spawn(spec)).wait()
    first, second = [await told(spec) for spec in specs]
    assert first["chance"] != second["chance"]


async def test_none_sees_what_another_was_told(nursery: Nursery, tmp_path: Path) -> None:
    """Not in its environment, and nowhere in the memory that it has from the nursery."""
    look = {"LOOK_FOR": "(?:top-)(?:secret-)[0-9]{8}", "LEAVE_WITH": "0"}
    knows = newborn(tmp_path, "knows", PASSWORD="top-secret-12345678", **look)
    other = newborn(tmp_path, "other", **look)
    for spec in (knows, other):
        process = await nursery.spawn(spec)
        assert isinstance(process, Adopted) and await process.wait() == 0
    assert (await told(knows))["found"] > 0 and (await told(other))["found"] == 0


async def test_ps_shows_what_it_is(nursery: Nursery, tmp_path: Path) -> None:
    spec = newborn(tmp_path, "registry")
    process = await nursery.spawn(spec)
    await told(spec)
    shown = Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0").decode()
    assert shown == " ".join(spec.argv)
    assert Path(f"/proc/{process.pid}/comm").read_text().strip() == "registry"
    await end(process)


# --- the supervisor's own ----------------------------------------------------------------------------------


async def test_its_exit_status_is_seen(nursery: Nursery, tmp_path: Path) -> None:
    left = await nursery.spawn(newborn(tmp_path, "left", LEAVE_WITH="3"))
    killed = await nursery.spawn(spec := newborn(tmp_path, "killed"))
    await told(spec)
    killed.send_signal(signal.SIGTERM)
    assert (await left.wait(), await killed.wait()) == (3, -signal.SIGTERM)
    with pytest.raises(ProcessLookupError):
        killed.send_signal(signal.SIGTERM)
    assert look_up(left.pid) is None and look_up(killed.pid) is None


async def test_a_killed_one_comes_back(nursery: Nursery, tmp_path: Path) -> None:
    supervisor = Supervisor(
        [newborn(tmp_path, "a")], status_file=tmp_path / "status.json", spawn=nursery.spawn
    )
    try:
        await supervisor.start(timeout_s=20)
        (first,) = supervisor.status.processes
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        await eventually(lambda: supervisor.status.processes[0].pid not in (None, first.pid))
        (second,) = supervisor.status.processes
        assert second.restarts == 1 and "signal 9" in str(second.last_exit)
    finally:
        await supervisor.stop()
    assert supervisor.status.processes[0].pid is None


SUPERVISE = """
import asyncio, sys
from pathlib import Path
from standalone.forking import Nursery
from standalone.supervisor import Supervisor
from tests.integration.test_nursery import newborn, nursery_spec
async def main():
    folder = Path(sys.argv[1])
    nursery = Nursery(nursery_spec(folder))
    await nursery.start()
    await Supervisor([newborn(folder, "a")], status_file=folder / "status.json", spawn=nursery.spawn).start(timeout_s=20)
    print(nursery.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", SUPERVISE, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    nursery = look_up(int(await asyncio.to_thread(parent.stdout.readline)))
    status = read_status(tmp_path / "status.json")
    assert status is not None and nursery is not None
    child = status.processes[0]
    assert child.pid is not None and child.started_ticks is not None
    ours = [nursery.identity, ProcessIdentity(child.pid, child.started_ticks)]
    assert all(is_running(each) for each in ours)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    await eventually(lambda: not any(is_running(each) for each in ours))


async def test_what_a_part_leaves_running_is_waited_for(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor is the parent of orphans, and they do not stay zombies."""
    monkeypatch.setattr(adopted, "ORPHANS_LOOK_S", 0.02)
    code = "import subprocess; print(subprocess.Popen(['sleep', '0.1']).pid)"
    looking = asyncio.create_task(adopted.collect_orphans())
    leaves = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    orphan = int((await leaves.communicate())[0])
    await eventually(lambda: look_up(orphan) is None)
    looking.cancel()


# --- without a nursery -------------------------------------------------------------------------------------


async def test_without_a_nursery_it_is_executed_and_the_nursery_comes_back(
    nursery: Nursery, tmp_path: Path
) -> None:
    first = nursery.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert await leaves_well(nursery, tmp_path)
    await eventually(lambda: nursery.pid not in (None, first))
    forked = await nursery.spawn(newborn(tmp_path, "b", LEAVE_WITH="0"))
    assert isinstance(forked, Adopted) and await forked.wait() == 0


async def test_a_nursery_that_hangs_is_not_waited_for_long_and_replaced(tmp_path: Path) -> None:
    nursery = Nursery(nursery_spec(tmp_path), patience_s=0.3)
    await nursery.start()
    try:
        first = nursery.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        assert await leaves_well(nursery, tmp_path)
        await eventually(lambda: nursery.pid not in (None, first))
    finally:
        await nursery.stop()


async def leaves_well(nursery: Nursery, folder: Path) -> bool:
    """Whether a process is executed, and does its work."""
    process = await nursery.spawn(newborn(folder, "executed", LEAVE_WITH="0"))
    return not isinstance(process, Adopted) and await process.wait() == 0


async def test_what_cannot_be_imported_is_executed_and_says_itself_why(
    nursery: Nursery, tmp_path: Path
) -> None:
    spec = newborn(tmp_path, "a")
    missing = replace(spec, module="no.such", argv=python_argv("no.such"))
    process = await nursery.spawn(missing)
    assert not isinstance(process, Adopted) and await process.wait() == 1
    assert "No module named 'no'" in missing.log_file.read_text()
    process = await nursery.spawn(spec)
    assert isinstance(process, Adopted)
    await end(process)


async def test_a_folder_that_is_missing_is_named(nursery: Nursery, tmp_path: Path) -> None:
    process = await nursery.spawn(replace(newborn(tmp_path, "a"), cwd=tmp_path / "none"))
    assert await process.wait() == 127
    assert "No such file or directory" in (tmp_path / "a.log").read_text()


async def test_servers_that_are_not_ours_and_other_pythons_are_executed(
    nursery: Nursery, tmp_path: Path
) -> None:
    other_python = newborn(tmp_path, "a", PYTHONUTF8="1", LEAVE_WITH="0")
    not_ours = replace(newborn(tmp_path, "b"), module=None, argv=("true",))
    for spec in (other_python, not_ours):
        process = await nursery.spawn(spec)
        assert not isinstance(process, Adopted) and await process.wait() == 0
