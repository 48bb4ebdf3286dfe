"""What a node's agent measures: the kernel's files of both kinds, the Engine where they cannot be read, and what is said of it all."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.facts import Facts, InstanceRecord
from agent.instance_readings import instance_readings
from agent.instance_usage import InstanceUsage
from agent.log_chunks import Chunk
from agent.log_counting import LogCount, LogCounting
from agent.log_place import LogPosition
from agent.naming import INSTANCE
from agent.usage_files import cgroup_paths, network_traffic
from lattice.contracts.catalogue import NODE_METRICS
from lattice.contracts.messages import DesiredDocument, DesiredInstance, GapCause, LogGap
from lattice.contracts.nouns import DesiredState, Health, Phase
from lattice.metrics.declared import node as declared_node
from lattice.metrics.declared import workload as declared
from lattice.metrics.readings import Reading, readings_of
from lattice.runtime import Container, ContainerStats, RunState
from lattice.testing import FakeRuntime
from tests.fixtures.agent import IMAGE, Node, eventually, instance_of, key_of

ID = "c0ffee" * 10 + "0123"
NET = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    9999      10    0    0    0     0          0         0     9999      10    0    0    0     0       0          0
  eth0:    1000      10    0    0    0     0          0         0      200       5    0    0    0     0       0          0
  eth1: 50       1    0    0    0     0          0         0       7       1    0    0    0     0       0          0
"""
V1 = {
    "cpuacct/cpuacct.usage": "2500000000\n",
    "cpu/cpu.stat": "nr_periods 9\nnr_throttled 3\nthrottled_time 40\n",
    "memory/memory.usage_in_bytes": "9000\n",
    "memory/memory.stat": "cache 5000\ninactive_file 1\ntotal_inactive_file 4000\n",
    "blkio/blkio.throttle.io_service_bytes": "8:0 Read 100\n8:0 Write 20\n8:0 Sync 1\n8:16 Read 1\nTotal 121\n",
    "pids/pids.current": "3\n",
}
V2 = {
    "cpu.stat": "usage_usec 2500000\nuser_usec 1\nthrottled_usec 0\n",
    "memory.current": "9000\n",
    "memory.stat": "anon 1\ninactive_file 4000\n",
    "io.stat": "8:0 rbytes=100 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=0\n",
    "pids.current": "3\n",
}


def stats(throttled_ns: int) -> ContainerStats:
    return ContainerStats(
        cpu_total_ns=2_500_000_000, memory_bytes=5000, pids=3, received_bytes=1050, sent_bytes=207,
        read_bytes=101, written_bytes=20, throttled_ns=throttled_ns,
    )  # fmt: skip


def container(pid: int = 42) -> Container:
    return Container(
        id=ID, name="web", image_id="i", labels={INSTANCE: "in-wl-1-0-1"}, state=RunState.RUNNING, pid=pid,
        started_at=datetime(2030, 1, 1, tzinfo=UTC),
    )  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with one process."""
    (tmp_path / "proc/42/net").mkdir(parents=True)
    (tmp_path / "proc/42/net/dev").write_text(NET)
    return tmp_path


def put(machine: Path, cgroup: str, files: dict[str, str], folder: str) -> InstanceUsage:
    (machine / "proc/42/cgroup").write_text(cgroup)
    for name, text in files.items():
        controller, _, file = name.rpartition("/")
        path = machine / "cgroup" / controller / folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return InstanceUsage(FakeRuntime(), proc=machine / "proc", cgroups=machine / "cgroup")


@pytest.mark.parametrize(
    ("cgroup", "files", "folder", "throttled_ns"),
    [
        (f"5:memory:/docker/{ID}\n4:cpu,cpuacct:/docker/{ID}\n3:blkio:/docker/{ID}\n2:pids:/docker/{ID}\n0::/x\n", V1, f"docker/{ID}", 40),
        (f"0::/system.slice/docker-{ID}.scope\n", V2, f"system.slice/docker-{ID}.scope", 0),
    ],
    ids=["version 1", "version 2"],
)  # fmt: skip
async def test_files_tell_of_a_container(
    machine: Path, cgroup: str, files: dict[str, str], folder: str, throttled_ns: int
) -> None:
    usage = put(machine, cgroup, files, folder)
    assert await usage.measure([container()]) == {ID: stats(throttled_ns)}


@pytest.mark.parametrize(
    "pid", [42, 7, 0], ids=["a process of somebody else", "no such process", "not known"]
)
async def test_where_files_tell_nothing_the_engine_is_asked(machine: Path, pid: int) -> None:
    runtime = FakeRuntime(images=(IMAGE,))
    (machine / "proc/42/cgroup").write_text("0::/user.slice\n")
    asked = InstanceUsage(runtime, proc=machine / "proc", cgroups=machine / "cgroup")
    assert await asked.measure([container(pid)]) == {}  # the Engine knows no such container either


def test_a_process_of_another_container_has_no_paths() -> None:
    assert cgroup_paths(f"0::/docker/{ID}\n", "deadbeef") == {}
    assert network_traffic(NET) == (1050, 207)


def values(readings: list[Reading]) -> dict[str, float]:
    return {each.spec.name: each.values[0] for each in readings}


def document(instance: DesiredInstance) -> DesiredDocument:
    return DesiredDocument(cluster_id="c1", node_id="nd-1", era=1, generation=1, instances=(instance,))


def test_of_a_running_instance_everything_is_said() -> None:
    instance = instance_of(key_of())
    facts = Facts().with_record(InstanceRecord(key=key_of(), restarts=2))
    found = instance_readings(
        document(instance), [container()], facts, {ID: (Health.HEALTHY, "")}, {ID: stats(40)},
        lambda _: LogCount(lines=7, size_bytes=70, dropped_lines=1),
    )  # fmt: skip
    said = values(found)
    assert {each.labels for each in found} == {("in-wl-1-0-1",)}
    assert (said[declared.UP.name], said[declared.READY.name], said[declared.RESTARTS.name]) == (1, 1, 2)
    assert (said[declared.CPU_SECONDS.name], said[declared.CPU_LIMIT.name]) == (2.5, 0.2)
    assert (said[declared.LOG_LINES.name], said[declared.LOG_DROPPED.name]) == (7, 1)
    assert len(said) == len(found) == 17


@pytest.mark.parametrize(("desired", "said"), [(DesiredState.RUNNING, True), (DesiredState.STOPPED, False)])
def test_what_ought_to_run_and_does_not_is_said_to_be_down(desired: DesiredState, said: bool) -> None:
    instance = instance_of(key_of(), desired=desired)
    found = values(instance_readings(document(instance), [], Facts(), {}, {}, lambda _: LogCount()))
    assert bool(found) is said
    assert not found.get(declared.UP.name)


def test_a_container_that_answers_its_check_no_more_is_up_and_not_ready() -> None:
    unhealthy = {ID: (Health.UNHEALTHY, "no answer")}
    found = values(
        instance_readings(
            document(instance_of(key_of())), [container()], Facts(), unhealthy, {}, lambda _: LogCount()
        )
    )
    assert (found[declared.UP.name], found[declared.READY.name]) == (1, 0)


def test_lines_are_counted_with_what_is_lost_of_them() -> None:
    counting = LogCounting()
    read = Chunk(
        first=1, last=10, first_at_ns=1, last_at_ns=2, pieces=2, size_bytes=100, position=LogPosition()
    )
    gap = Chunk(
        first=11,
        last=11,
        first_at_ns=2,
        last_at_ns=3,
        gap=LogGap(cause=GapCause.ROTATED),
        position=LogPosition(),
    )
    counting.read("a", [read, gap])
    assert counting.of("a") == LogCount(lines=8, size_bytes=100, dropped_lines=1)
    counting.keep_only(["b"])
    assert counting.of("a") == LogCount()


async def test_an_agent_tells_what_it_measures(tmp_path: Path) -> None:
    node = Node(FakeRuntime(images=(IMAGE,)), tmp_path, config={"measure_every_s": 0.05})
    async with node.run():
        await node.want(instance_of(key_of()))
        await node.until(key_of(), lambda seen: seen.phase is Phase.RUNNING)

        def told() -> dict[str, float]:
            tables = node.bus.sent(NODE_METRICS)[-1].tables if node.bus.sent(NODE_METRICS) else ()
            return values([each for table in tables for each in readings_of(table)])

        said = await eventually(lambda: told() if told().get(declared.READY.name) else None)
    assert said[declared_node.ENGINE_UP.name] == 1
    assert said[declared.CPU_SECONDS.name] == 1e-9  # as the doubles' engine tells
    assert said["process_resident_memory_bytes"] > 0
