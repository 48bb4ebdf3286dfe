"""The gatherer of metrics: whom it believes what, what it shows, and what it keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from lattice.background import Background
from lattice.contracts.catalogue import (
    KNOWN_INSTANCES,
    LIST_METRIC_SOURCES,
    NODE_METRICS,
    QUERY_METRICS,
    READ_METRICS,
    READ_STATS,
    SERVICE_METRICS,
)
from lattice.contracts.messages import (
    Empty,
    InstanceOwners,
    KnownInstances,
    MetricHistory,
    NodeMetrics,
    QueryMetrics,
    ReadMetrics,
    ReadStats,
    SampleTable,
    ServiceMetrics,
    Stats,
)
from lattice.errors import Invalid, LatticeError, NotFound
from lattice.metrics.declared import bus as bus_metrics
from lattice.metrics.declared import node, process, workload
from lattice.metrics.readings import Reading, reading, readings_of, tables_of
from lattice.metrics.spec import MetricSpec
from lattice.settings import BusSettings
from lattice.testing.bus import MemoryBus
from lattice.testing.clock import ManualClock
from services.metrics.app import Metrics
from services.metrics.metrics import REFUSED
from services.metrics.settings import MetricsSettings

OWNERS = {
    "nd-1": {"in-1": ("shop", "wl-1", "web"), "in-2": ("shop", "wl-2", "db")},
    "nd-2": {"in-3": ("home", "wl-3", "web")},
}
NAMES = {"nd-1": "attic", "nd-2": "cellar"}


async def known(request: KnownInstances) -> InstanceOwners:
    found = OWNERS.get(request.node_id, {})
    named = {each: owner for each, owner in found.items() if each == request.instance_id}
    return InstanceOwners(instances=named, node_name=NAMES.get(request.node_id, ""))


@dataclass
class World:
    """A gatherer, and everybody around it."""

    folder: Path
    clock: ManualClock = field(default_factory=ManualClock)
    bus: MemoryBus = field(init=False)
    service: Metrics = field(init=False)

    def __post_init__(self) -> None:
        self.bus = MemoryBus(clock=self.clock)

    async def begin(self, background: Background) -> None:
        bus = BusSettings(
            urls=["tls://x"], ca_file=Path("x"), cert_file=Path("x"), key_file=Path("x"), creds_file=Path("x")
        )
        settings = MetricsSettings(bus=bus, data_dir=self.folder)
        self.service = Metrics(settings, self.bus, self.clock)
        await self.service.start(background)

    async def say(self, *readings: Reading, node_id: str = "nd-1", claims: str | None = None) -> None:
        """A node speaks."""
        message = NodeMetrics(
            node_id=claims or node_id, taken_at=self.clock.now(), tables=tables_of(readings)
        )
        await self.bus.publish(NODE_METRICS, message, node_id=node_id)
        await self.bus.settle()

    async def said(self, node_id: str = "nd-1") -> dict[tuple[str, ...], float]:
        """What is known of a node: (metric, label…) -> value."""
        answer = await self.bus.ask(READ_METRICS, ReadMetrics(kind="node", id=node_id))
        found = (each for table in answer.tables for each in readings_of(table))
        return {(each.spec.name, *each.labels): each.values[0] for each in found}

    async def minute(self, *readings: Reading) -> None:
        """A minute passes, at the end of which the node speaks."""
        self.clock.advance(60)
        await self.say(*readings)
        await self.service.keep_minute()

    async def history(self, minutes: int = 10, step_s: int = 60, **asked: object) -> MetricHistory:
        now_s = int(self.clock.now().timestamp())
        query = QueryMetrics(from_s=now_s - minutes * 60, until_s=now_s, step_s=step_s, **asked)
        return await self.bus.ask(QUERY_METRICS, query)

    async def stats(self, **asked: object) -> Stats:
        return await self.bus.ask(READ_STATS, ReadStats(**{"about": "workload", **asked}))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "metrics")
    await world.bus.serve(KNOWN_INSTANCES, known)
    async with Background() as background:
        await world.begin(background)
        yield world
        await world.service.stop()


def refused(reason: str) -> Callable[[], float]:
    counter = REFUSED.labels(reason)._value
    before = counter.get()
    return lambda: float(counter.get() - before)


# ------------------------------------------------------------------------------------------------ whom it believes what


async def test_what_a_node_says_is_shown_with_whose_it_is(world: World) -> None:
    await world.say(reading(node.LOAD1, 0.5), reading(workload.UP, 1, "in-1"))
    answer = await world.bus.ask(READ_METRICS, ReadMetrics(kind="node", id="nd-1"))
    assert (answer.source.name, answer.owners["in-1"].project, answer.owners["in-1"].workload) == (
        "attic",
        "shop",
        "web",
    )
    assert (await world.said())[node.LOAD1.name,] == 0.5
    assert (await world.said())[node.CLOCK_OFFSET.name,] == 0


async def test_a_node_speaks_for_itself_only(world: World) -> None:
    await world.say(reading(node.LOAD1, 9), node_id="nd-2", claims="nd-1")
    for node_id in ("nd-1", "nd-2"):
        with pytest.raises(NotFound, match="Nothing was heard of the node"):
            await world.said(node_id)


async def test_of_instances_of_other_nodes_nothing_is_taken(world: World) -> None:
    left_out = refused("owner")
    await world.say(
        reading(workload.UP, 1, "in-1"),
        reading(workload.UP, 1, "in-3"),
        reading(workload.UP, 1, "in-made-up"),
    )
    assert [each for each in await world.said() if each[0] == workload.UP.name] == [
        (workload.UP.name, "in-1")
    ]
    assert left_out() == 2


async def test_while_the_registry_is_away_the_node_itself_is_shown(tmp_path: Path) -> None:
    world = World(tmp_path / "metrics")
    async with Background() as background:
        await world.begin(background)
        await world.say(reading(node.LOAD1, 1), reading(workload.UP, 1, "in-1"))
        assert set(await world.said()) == {(node.LOAD1.name,), (node.CLOCK_OFFSET.name,)}
        await world.bus.serve(KNOWN_INSTANCES, known)
        await world.say(reading(workload.UP, 1, "in-1"))
        assert (workload.UP.name, "in-1") not in await world.said(), "it is not asked again at once"
        world.clock.advance(5)
        await world.say(reading(workload.UP, 1, "in-1"))
        assert (workload.UP.name, "in-1") in await world.said()
        await world.service.stop()


def table(
    metrics: tuple[str, ...],
    *rows: tuple[tuple[str, ...], tuple[float | None, ...]],
    labels: tuple[str, ...] = (),
) -> SampleTable:
    return SampleTable(metrics=metrics, labels=labels, rows=rows)


CPUS, UP = node.CPUS.name, workload.UP.name
ONE = ((), (1.0,))


@pytest.mark.parametrize(
    ("tables", "reason", "left"),
    [
        ([table(("made_up",), ONE)], "unknown", 0),
        ([table((CPUS,), (("x",), (1.0,)), labels=("project",))], "unknown", 0),
        ([table((UP,), ONE)], "unknown", 0),
        ([table((CPUS, UP), ((), (1.0, 1.0)))], "unknown", 0),
        ([table((CPUS, bus_metrics.ASKED.name), ((), (1.0, 1.0)))], "unknown", 0),
        ([table((CPUS, "from_the_future"), ((), (1.0, 2.0)))], "unknown", 1),
        ([table((CPUS,), ((), (1.0, 2.0)))], "shape", 0),
        ([table((CPUS,), ONE, ONE)], "shape", 1),
        ([table((CPUS,), ONE), table((CPUS,), ONE)], "shape", 1),
        ([table((CPUS, CPUS), ((), (1.0, 1.0)))], "shape", 0),
        ([table((UP,), (("in-1\n",), (1.0,)), labels=("instance",))], "shape", 0),
        ([table((bus_metrics.ASKED.name,), (("a", "ok"), (1.0,)), labels=("rpc", "outcome"))], "shape", 0),
    ],
)  # fmt: skip
async def test_what_is_not_declared_so_is_left_out(
    world: World, tables: list[SampleTable], reason: str, left: int
) -> None:
    left_out = refused(reason)
    message = NodeMetrics(node_id="nd-1", taken_at=world.clock.now(), tables=tuple(tables))
    await world.bus.publish(NODE_METRICS, message, node_id="nd-1")
    await world.bus.settle()
    assert len(await world.said()) - 1 == left  # but for the offset of its clock
    assert left_out() >= 1


async def test_a_service_speaks_for_itself_and_of_no_node(world: World) -> None:
    left_out = refused("unknown")
    own = tables_of([reading(process.RESIDENT_BYTES, 7), reading(node.LOAD1, 1)])
    for claims in ("logs", "scheduler"):
        message = ServiceMetrics(service=claims, taken_at=world.clock.now(), tables=own)
        await world.bus.publish(SERVICE_METRICS, message, service="logs")
    await world.bus.settle()
    sources = (await world.bus.ask(LIST_METRIC_SOURCES, Empty())).sources
    assert [(each.kind, each.id) for each in sources] == [("service", "logs")]
    assert left_out() == 1


async def test_who_is_silent_for_a_day_is_forgotten(world: World) -> None:
    await world.say(reading(node.LOAD1, 1))
    world.clock.advance(timedelta(days=1).total_seconds())
    await world.service.keep_minute()
    assert (await world.bus.ask(LIST_METRIC_SOURCES, Empty())).sources == ()


# ------------------------------------------------------------------------------------------------ as it is now


def instance(cpu_s: float, sent: float = 0, name: str = "in-1") -> list[Reading]:
    told: list[tuple[MetricSpec, float]] = [
        (workload.UP, 1), (workload.READY, 1), (workload.RESTARTS, 3), (workload.CPU_SECONDS, cpu_s), (workload.CPU_LIMIT, 0.5),
        (workload.MEMORY, 1000), (workload.NETWORK_SENT, sent),
    ]  # fmt: skip
    return [reading(spec, value, name) for spec, value in told]


async def test_stats_are_of_the_two_newest_messages(world: World) -> None:
    await world.say(*instance(10, 100))
    [first] = (await world.stats()).instances
    assert (first.cpu_cores, first.sent_bytes_per_s, first.memory_bytes, first.restarts) == (
        None,
        None,
        1000,
        3,
    )
    world.clock.advance(10)
    await world.say(*instance(15, 600))
    [second] = (await world.stats()).instances
    assert (second.cpu_cores, second.cpu_limit_cores, second.sent_bytes_per_s) == (0.5, 0.5, 50)
    assert (second.project, second.workload, second.node, second.up, second.ready) == (
        "shop",
        "web",
        "attic",
        True,
        True,
    )


async def test_stats_of_a_project_or_a_workload_are_its_own(world: World) -> None:
    await world.say(*instance(1), *instance(1, name="in-2"))
    await world.say(*instance(1, name="in-3"), node_id="nd-2")
    assert [each.workload_id for each in (await world.stats()).instances] == ["wl-3", "wl-2", "wl-1"]
    assert [each.workload_id for each in (await world.stats(project="home")).instances] == ["wl-3"]
    assert [each.workload_id for each in (await world.stats(workload_ids=("wl-2",))).instances] == ["wl-2"]
    assert (await world.stats(limit=2)).more


async def test_stats_of_nodes(world: World) -> None:
    await world.say(reading(node.CPUS, 4), reading(node.CPU_SECONDS, 100), reading(node.ENGINE_UP, 0))
    world.clock.advance(10)
    await world.say(reading(node.CPUS, 4), reading(node.CPU_SECONDS, 120), reading(node.ENGINE_UP, 0))
    [found] = (await world.stats(about="node")).nodes
    assert (found.node, found.cpu_cores, found.cpu_limit_cores, found.engine_up) == ("attic", 2, 4, False)


# ------------------------------------------------------------------------------------------------ the last day


async def test_history_has_rates_of_counters_and_values_of_gauges(world: World) -> None:
    for minute in range(4):
        await world.minute(*instance(30 * minute))
    answer = await world.history(5, metrics=(workload.CPU_SECONDS.name, workload.MEMORY.name))
    cpu, memory = answer.series
    assert (cpu.unit, memory.unit, cpu.workload, cpu.node, cpu.instance) == (
        "cores",
        "bytes",
        "web",
        "attic",
        "in-1",
    )
    assert cpu.points[-4:] == (None, 0.5, 0.5, 0.5)
    assert memory.points == (None, 1000, 1000, 1000, 1000)


async def test_a_counter_that_began_anew_has_no_huge_rate(world: World) -> None:
    for read in (6000, 6060, 6):
        await world.minute(*instance(read))
    [cpu] = (await world.history(3, metrics=(workload.CPU_SECONDS.name,))).series
    assert cpu.points == (None, 1.0, 0.1)


async def test_wider_steps_are_means(world: World) -> None:
    while int(world.clock.now().timestamp()) % 120:
        world.clock.advance(1)
    for value in (1, 3, 5, 7):
        await world.minute(reading(node.LOAD1, value))
    [load] = (await world.history(4, step_s=120, metrics=(node.LOAD1.name,))).series
    assert load.points == (2, 6)


async def test_series_are_chosen_by_what_is_asked(world: World) -> None:
    await world.minute(*instance(1), reading(node.LOAD1, 1), reading(process.RESIDENT_BYTES, 1))
    about = {
        each: {s.metric for s in (await world.history(about=each)).series}
        for each in ("workload", "node", "service")
    }
    assert workload.MEMORY.name in about["workload"] and node.LOAD1.name not in about["workload"]
    assert about["node"] == {node.LOAD1.name, node.CLOCK_OFFSET.name, process.RESIDENT_BYTES.name}
    assert about["service"] == set()
    assert not (await world.history(project="home")).series
    with pytest.raises(Invalid, match="between 1 and 1500"):
        await world.history(minutes=-5)
    with pytest.raises(Invalid, match="That would be 1501"):
        await world.history(minutes=1501)


async def test_a_silent_node_leaves_a_hole(world: World) -> None:
    await world.minute(reading(node.LOAD1, 1))
    for _ in range(2):
        world.clock.advance(60)
        await world.service.keep_minute()
    await world.minute(reading(node.LOAD1, 2))
    [load] = (await world.history(4, metrics=(node.LOAD1.name,))).series
    assert load.points == (1, None, None, 2)


async def test_the_history_is_there_after_a_crash(tmp_path: Path) -> None:
    world = World(tmp_path / "metrics")
    await world.bus.serve(KNOWN_INSTANCES, known)
    async with Background() as background:
        await world.begin(background)
        for minute in range(3):
            await world.minute(*instance(30 * minute), reading(node.LOAD1, minute))
        before = await world.history()
        await world.service.stop()
        for path in world.folder.glob("*.history"):  # torn, as a crash may leave it
            path.write_bytes(path.read_bytes() + b"LLB1 half a frame")
        await world.begin(background)
        assert await world.history() == before
        await world.minute(*instance(90), reading(node.LOAD1, 3))
        [load] = (await world.history(4, metrics=(node.LOAD1.name,))).series
        assert load.points == (0, 1, 2, 3)
        await world.service.stop()


async def test_two_processes_do_not_share_a_folder(world: World) -> None:
    with pytest.raises(LatticeError, match="give each its own directory"):
        async with Background() as background:
            await World(world.folder).begin(background)
