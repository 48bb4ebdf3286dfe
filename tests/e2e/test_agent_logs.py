"""Logs of real containers on the real Engine: what was printed is what is stored, or a gap says how much is not."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent import docker_options
from agent.docker_runtime import open_docker
from lattice import __version__, log_records
from lattice.contracts.messages import GapCause
from lattice.contracts.nouns import Phase
from lattice.contracts.spec import BackoffSpec
from lattice.number_ranges import together
from tests.e2e.test_agent_docker_kill import AgentProcess
from tests.fixtures.agent import Node, eventually, instance_of, key_of, tombstone_of
from tests.fixtures.log_shelf import Shelf

SOON = BackoffSpec(initial=0.1, max=0.2)
PRINT = "i={first}; while [ $i -lt {end} ]; do echo line $i of a log that somebody may want to read; i=$((i+1)); done"
NEXT_VERSION = "99.0.0"
MIB = 2**20
# What the agent may take more than it takes at rest.
MOST_MORE = 64 * MIB


def line(number: int) -> str:
    return f"line {number} of a log that somebody may want to read"


def number_of(text: str) -> int:
    return int(text.split()[1])


def printing(first: int, end: int, *, then: str = "exec sleep 600") -> tuple[str, ...]:
    return ("sh", "-c", f"{PRINT.format(first=first, end=end)}; {then}")


@pytest.fixture
async def node(image_test: str, cluster_id: str, tmp_path: Path) -> AsyncIterator[Node]:
    runtime = open_docker("unix:///var/run/docker.sock", files_root=tmp_path / "files")
    yield Node(runtime, tmp_path, cluster=cluster_id, config={"ping_s": 1.0})
    await runtime.close()


@pytest.fixture
async def shelf(node: Node) -> Shelf:
    shelf = Shelf(node.bus, node.node_id)
    await shelf.start()
    return shelf


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the Engine begin a new file every 2 MB."""
    monkeypatch.setitem(docker_options.LOG_CONFIG["Config"], "max-size", "2m")  # type: ignore[arg-type]


@pytest.mark.usefixtures("small_files")
async def test_rotation_and_agent_restarts_lose_nothing(node: Node, shelf: Shelf, image_test: str) -> None:
    count = 60_000
    async with node.run():
        await node.want(instance_of(key_of(), image=image_test, command=printing(0, count)))
        await eventually(lambda: len(shelf.all_lines) > 1000)
    async with node.run() as agent:
        await eventually(lambda: len(next(iter(shelf.records.values()))) >= count)
        await eventually(lambda: agent.logs.spool.is_empty)
    assert not shelf.gaps, "nothing was rotated away unread"
    (source,) = shelf.records
    assert shelf.ranges[source] == ((1, count),)
    assert Counter(shelf.lines(source)) == Counter(map(line, range(count)))
    path = Path((await node.runtime.containers(node.cluster))[0].log_path)
    assert path.with_name(path.name + ".1").exists(), "there were several files"


async def test_each_run_of_a_container_is_stored(node: Node, shelf: Shelf, image_test: str) -> None:
    again = (
        "n=$(cat /tmp/n 2>/dev/null || echo 0); end=$((n+500)); i=$n; "
        "while [ $i -lt $end ]; do echo line $i of a log that somebody may want to read; i=$((i+1)); done; "
        "echo $end > /tmp/n; [ $end -ge 2000 ] && exec sleep 600; exit 1"
    )
    async with node.run():
        await node.want(instance_of(key_of(), image=image_test, command=("sh", "-c", again), backoff=SOON))
        await eventually(lambda: len(shelf.all_lines) >= 2000)
        seen = await node.until(key_of(), lambda c: c.phase is Phase.RUNNING and c.restarts == 3)
        assert seen.last_exit is not None and seen.last_exit.log[-1] == line(1499)
        await node.want(tombstones=(tombstone_of(key_of()),))
        await node.until_gone(key_of())
    assert shelf.all_lines == [line(number) for number in range(2000)] and not shelf.gaps


async def test_a_long_outage_with_a_small_spool_is_told_exactly(
    node: Node, shelf: Shelf, image_test: str
) -> None:
    count = 120_000
    node.config["log_spool_bytes"] = 512 * 1024
    async with node.run() as agent:
        await node.want(instance_of(key_of(), image=image_test, command=printing(0, count)))
        await eventually(lambda: shelf.all_lines)
        node.bus.disconnect()
        source = next(iter(shelf.records))
        await eventually(lambda: agent.logs.collecting.positions()[source].number == count)
        await node.bus.reconnect()
        await eventually(lambda: agent.logs.spool.is_empty)
    stored = set(map(number_of, shelf.lines(source)))
    told = {n - 1 for gap in shelf.gaps for n in range(gap.first, gap.last + 1)}
    assert told and not stored & told and stored | told == set(range(count))
    assert {gap.gap.cause for gap in shelf.gaps if gap.gap} == {GapCause.SPOOL_FULL}
    assert shelf.gap_lines() + len(stored) == count and len(shelf.gaps) <= 5
    assert {gap.gap.size_bytes for gap in shelf.gaps if gap.gap} != {None}


async def test_where_the_files_cannot_be_read_the_api_tells_the_same(
    node: Node, shelf: Shelf, image_test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 20_000
    command = printing(0, count)
    async with node.run():
        await node.want(instance_of(key_of(), image=image_test, command=command))
        await eventually(lambda: len(shelf.all_lines) == count)
        source = next(iter(shelf.records))
        path = Path((await node.runtime.containers(node.cluster))[0].log_path)
        assert b"".join(shelf.records[source][n] + b"\n" for n in range(1, count + 1)) == path.read_bytes()
    monkeypatch.setattr("agent.log_collecting.is_readable", lambda _: False)
    async with node.run():
        await node.want(
            instance_of(key_of(), image=image_test, command=command),
            instance_of(key_of(slot=1), image=image_test, command=command),
        )
        await eventually(lambda: len(shelf.all_lines) == 2 * count)
    (streamed,) = shelf.records.keys() - {source}
    assert shelf.lines(streamed) == [line(number) for number in range(count)] and not shelf.gaps


# ------------------------------------------------------------------------------------------------ a process of its own


@pytest.fixture
def agent(tmp_path: Path, cluster_id: str, image_test: str) -> Iterator[AgentProcess]:
    agent = AgentProcess(tmp_path, cluster_id)
    yield agent
    agent.kill()


class Stored:
    """What the agents in processes of their own shipped."""

    def __init__(self, folder: Path) -> None:
        self._path, self._read = folder / "logs.jsonl", 0
        self.records: dict[int, bytes] = {}
        self.from_version: dict[str, set[int]] = defaultdict(set)
        self.gaps: dict[tuple[int, int], dict[str, Any]] = {}

    def look(self) -> Stored:
        with self._path.open("rb") if self._path.exists() else Path("/dev/null").open("rb") as file:
            file.seek(self._read)
            for text in file:
                if not text.endswith(b"\n"):
                    break
                self._read += len(text)
                self._note(json.loads(text))
        return self

    def _note(self, block: dict[str, Any]) -> None:
        if block["gap"] is not None:
            self.gaps[block["first"], block["last"]] = block["gap"]
        self.from_version[block["version"]].update(range(block["first"], block["last"] + 1))
        for number, record in enumerate(block["records"], block["first"]):
            raw = record.encode("latin-1")
            assert self.records.setdefault(number, raw) == raw, "a number means one record"

    def lines(self) -> list[str]:
        joined = b"".join(self.records[number] + b"\n" for number in sorted(self.records))
        return [each.text for each in log_records.lines(joined, 1)] if joined else []


async def test_kills_of_the_agent_lose_nothing_and_store_nothing_twice(
    agent: AgentProcess, tmp_path: Path, image_test: str
) -> None:
    count = 60_000
    agent.want(instance_of(key_of(1), image=image_test, command=printing(0, count)))
    stored = Stored(tmp_path)
    for kill_at in (1, 10_000, 20_000):
        agent.start()
        await eventually(lambda at=kill_at: len(stored.look().records) >= at)  # type: ignore[misc]
        agent.kill()
    agent.start()
    await eventually(lambda: len(stored.look().records) == count)
    assert sorted(stored.records) == list(range(1, count + 1)) and not stored.gaps
    assert stored.lines() == [line(number) for number in range(count)]


async def test_an_upgrade_of_the_agent_loses_nothing_and_stores_nothing_twice(
    agent: AgentProcess, tmp_path: Path, image_test: str
) -> None:
    """Other code finds the journal and the spool that the old version left, of which nothing is confirmed; the container prints on meanwhile."""
    count = 40_000
    agent.want(instance_of(key_of(1), image=image_test, command=printing(0, count)))
    stored, silent = Stored(tmp_path), tmp_path / "silent"
    silent.touch()
    agent.start()
    await eventually(lambda: len(stored.look().records) >= 10_000)
    agent.stop()
    by_old = len(stored.look().from_version[__version__])
    silent.unlink()
    agent.source = another_version(tmp_path / "source", NEXT_VERSION)
    agent.start_fresh()
    await eventually(lambda: len(stored.look().from_version[NEXT_VERSION]) == count)
    agent.stop()
    assert by_old == len(stored.look().from_version[__version__]), "it ended when it was told to"
    assert sorted(stored.records) == list(range(1, count + 1)) and not stored.gaps
    assert stored.lines() == [line(number) for number in range(count)]


def another_version(folder: Path, version: str) -> Path:
    """A copy of the agent's code that says that it is of this version."""
    root = Path(__file__).resolve().parents[2]
    for part in ("agent", "lattice", "tests/fixtures"):
        shutil.copytree(root / part, folder / part)
    about = folder / "lattice" / "__init__.py"
    about.write_text(about.read_text().replace(__version__, version))
    return folder


@pytest.mark.parametrize(
    "print_it",
    [
        pytest.param("head -c 100000000 /dev/zero | tr '\\0' x; echo", id="one line of 100 MB"),
        pytest.param("head -c 8000000 /dev/urandom; echo", id="binary"),
        pytest.param("head -c 20000000 /dev/zero; echo", id="zeros"),
    ],
)
async def test_what_is_no_ordinary_text_takes_no_memory_and_holds_up_nothing(
    agent: AgentProcess, print_it: str, tmp_path: Path, image_test: str
) -> None:
    stored = Stored(tmp_path)
    agent.want(instance_of(key_of(1), image=image_test, command=("sh", "-c", "sleep 600")))
    agent.start_fresh()
    agent.until(lambda report: bool(report.containers))
    at_rest = _peak_bytes(agent)
    command = ("sh", "-c", f"{print_it}; sleep 1; echo the end; exec sleep 600")
    agent.want(
        instance_of(key_of(2), image=image_test, command=command, memory_bytes=256 * MIB, cpu_millis=2000)
    )

    async def last_line() -> str:
        return (await asyncio.to_thread(stored.look().lines) or [""])[-1]

    async with asyncio.timeout(60):
        while await last_line() != "the end":
            await asyncio.sleep(0.1)
    assert _peak_bytes(agent) - at_rest < MOST_MORE
    assert _longest_pause_s(tmp_path) < 1.0, "heartbeats go on"
    # As ranges: where the Engine had three full files before the first read, a gap at microseconds since 1970 comes first.
    ((first, _),) = together([*((number, number) for number in stored.records), *stored.gaps])
    assert first == 1 or first in {begin for begin, _ in stored.gaps}, "what is missing is told"


def _peak_bytes(agent: AgentProcess) -> int:
    assert agent.process is not None
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _longest_pause_s(folder: Path) -> float:
    beats = [float(text) for text in (folder / "beats").read_text().splitlines()]
    return max(after - before for before, after in pairwise(beats))
