"""The log store on the bus: from a node's block to an answered query, whatever is repeated, forged or away."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lattice.background import Background
from lattice.bus import NatsBus
from lattice.clock import SystemClock
from lattice.contracts.catalogue import (
    KNOWN_INSTANCES,
    LOG_BLOCK,
    LOGS_HELD,
    LOGS_STORED,
    QUERY_LOGS,
    SERVICE_LOG,
)
from lattice.contracts.messages import (
    GapCause,
    InstanceOwners,
    KnownInstances,
    LogGap,
    LogLines,
    LogRange,
    LogsHeld,
    LogsStored,
    QueryLogs,
)
from lattice.contracts.permissions import service_permissions
from lattice.contracts.streams import CONSUMERS, STREAMS
from lattice.errors import Temporary
from lattice.messaging import Received
from lattice.metrics.instruments import REGISTRY
from lattice.settings import BusSettings
from lattice.testing import MemoryBus
from lattice.testing.broker import MemoryBroker
from services.gateway.log_lines import json_lines
from services.logs import segments
from services.logs.app import Logs
from services.logs.settings import LogsSettings
from tests.fixtures.log_blocks import START_NS, a_block, numbered_body, read_lines, text_of
from tests.fixtures.nats import BusIdentity, NatsServer

NOWHERE = BusSettings(
    urls=["tls://nowhere:1"], ca_file=Path(), cert_file=Path(), key_file=Path(), creds_file=Path()
)


@dataclass
class World:
    """A node that sends, a registry that knows, a gateway that asks."""

    broker: MemoryBroker
    bus: MemoryBus
    folder: Path
    owners: dict[str, dict[str, tuple[str, str, str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    registry_away: bool = False

    async def serve(self) -> None:
        await self.bus.serve(KNOWN_INSTANCES, self.known)

    async def known(self, request: KnownInstances) -> InstanceOwners:
        self.asked.append(request.node_id)
        if self.registry_away:
            raise Temporary("The registry is away.")
        known = self.owners.get(request.node_id, {}).items()
        return InstanceOwners(
            instances={id_: owner for id_, owner in known if id_ == request.instance_id}, node_name="attic"
        )

    def settings(self, **changes: Any) -> LogsSettings:
        return LogsSettings(bus=NOWHERE, data_dir=self.folder / "logs", **changes)

    @asynccontextmanager
    async def logs(self, **changes: Any) -> AsyncIterator[Logs]:
        """A running log store."""
        async with Background() as background:
            logs = Logs(self.settings(**changes), MemoryBus(self.broker, identity="logs"))
            await logs.start(background)
            try:
                yield logs
            finally:
                await logs.stop()

    async def send(
        self, first: int, last: int, *, body: bytes | None = None, subject_node: str = "nd-a", **changes: Any
    ) -> None:
        """As a node does."""
        block = a_block(first, last, **changes)
        await self.bus.append(
            LOG_BLOCK,
            block,
            msg_id=f"{block.source}-{first}-{last}-{len(self.bus.sent(LOG_BLOCK))}",
            body=numbered_body(first, last) if body is None else body,
            node_id=subject_node,
            workload_id=block.workload_id,
        )

    async def query(self, **asked: Any) -> LogLines:
        values = {"project": "default", "workload_ids": ("wl-1",), "limit": 10_000} | asked
        return await self.bus.ask(QUERY_LOGS, QueryLogs(**values))

    async def numbers(self, **asked: Any) -> list[int]:
        found = read_lines(await self.query(**asked))
        assert [line.message for line in found] == [text_of(line.number) for line in found]
        return [line.number for line in found]


@pytest.fixture
async def world(tmp_path: Path) -> World:
    broker = MemoryBroker(SystemClock())
    world = World(broker, MemoryBus(broker), tmp_path)
    world.owners["nd-a"] = {"in-1": ("default", "wl-1", "orders")}
    await world.serve()
    return world


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.005)


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("lattice_logs_blocks_total", {"outcome": outcome}) or 0.0


async def test_lines_of_a_node_are_found(world: World) -> None:
    async with world.logs():
        await world.send(0, 9)
        await world.bus.settle()
        assert await world.numbers() == list(range(10))
        line = read_lines(await world.query(limit=1))[0]
        assert (line.workload, line.node, line.instance, line.message) == (
            "orders",
            "attic",
            "in-1",
            "line 9",
        )
        assert line.time.timestamp() == START_NS / 10**9 + 9


async def test_numbered_lines_arrive_once_each_over_repetition_and_restarts(world: World) -> None:
    world.broker.duplicates = True
    world.broker.reorder = True
    for start in range(0, 1000, 250):
        async with world.logs():
            await asyncio.gather(*(world.send(first, first + 24) for first in range(start, start + 250, 20)))
            await world.bus.settle()
    async with world.logs():
        found = await world.numbers()
    assert found == list(range(1015))
    assert not world.bus.dead_letters


async def test_what_is_sent_while_the_log_store_is_down_is_stored_later(world: World) -> None:
    async with world.logs():
        await world.send(0, 9)
        await world.bus.settle()
    await world.send(10, 19)
    async with world.logs():
        await world.bus.settle()
        assert await world.numbers() == list(range(20))


async def test_many_blocks_share_their_fsyncs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    appended = []
    append = segments.append

    def counting(path: Path, size_bytes: int, chunks: list[bytes]) -> None:
        appended.append(len(chunks))
        append(path, size_bytes, chunks)

    monkeypatch.setattr(segments, "append", counting)
    for first in range(0, 2000, 10):
        await world.send(first, first + 9)
    async with world.logs():
        await world.bus.settle()
        assert await world.numbers() == list(range(2000))
    assert sum(appended) == 200
    assert len(appended) < 20


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"instance_id": "in-9"}, "the node never had this instance"),
        ({"node_id": "nd-b", "subject_node": "nd-b"}, "another node has it"),
        ({"node_id": "nd-b"}, "the block names another node than its subject, which the bus vouches for"),
        ({"workload_id": "wl-2"}, "the instance belongs to another workload"),
    ],
)
async def test_lines_that_are_not_the_nodes_own_are_refused(
    world: World, changes: dict[str, Any], why: str
) -> None:
    before = counted("refused")
    async with world.logs() as logs:
        await world.send(0, 9, **changes)
        await world.bus.settle()
        assert counted("refused") == before + 1, why
        assert not list(logs.store.index.segments())
    assert not world.bus.dead_letters


async def test_a_project_is_what_the_registry_says(world: World) -> None:
    async with world.logs():
        await world.send(0, 9, project="somebody-elses")
        await world.bus.settle()
        assert await world.numbers() == list(range(10))
        assert await world.numbers(project="somebody-elses") == []


async def test_the_registry_is_asked_once_and_again_only_for_the_unknown(world: World) -> None:
    async with world.logs():
        for first in (0, 10, 20):
            await world.send(first, first + 9)
            await world.bus.settle()
        assert world.asked == ["nd-a"]
        world.owners["nd-a"] |= {"in-2": ("default", "wl-1", "orders")}
        await world.send(0, 9, instance_id="in-2", source="other")
        await world.bus.settle()
        assert world.asked == ["nd-a", "nd-a"]
        for _ in range(5):
            await world.send(0, 9, instance_id="in-9")
        await world.bus.settle()
        assert len(world.asked) <= 3 + 5
        assert len(read_lines(await world.query())) == 40


async def test_blocks_wait_for_a_registry_that_is_away(world: World) -> None:
    world.registry_away = True
    async with world.logs():
        await world.send(0, 9)
        await until(lambda: bool(world.asked))
        world.registry_away = False
        await world.bus.settle()
        assert await world.numbers() == list(range(10))


async def test_a_block_that_is_none_is_given_up_and_kept_for_people(world: World) -> None:
    async with world.logs():
        await world.send(0, 9, body=b"nonsense")
        await world.send(0, 99, body=numbered_body(0, 9))
        await world.send(10, 19)
        await world.bus.settle()
        assert await world.numbers() == list(range(10, 20))
    assert len(world.bus.dead_letters) == 2


async def test_logs_of_a_removed_workload_stay_readable(world: World) -> None:
    async with world.logs():
        await world.send(0, 9)
        await world.bus.settle()
    world.owners.clear()
    async with world.logs():
        assert await world.numbers() == list(range(10))
        assert read_lines(await world.query(limit=1))[0].workload == "orders"


async def test_what_is_too_old_is_let_go_in_the_background(world: World) -> None:
    async with world.logs(max_age_s=0.05, retention_every_s=0.02) as logs:
        await world.send(0, 9)
        await world.bus.settle()
        await until(lambda: not list(logs.store.index.segments()))
        assert await world.numbers() == []


async def test_a_wrong_query_is_answered_with_nothing(world: World) -> None:
    async with world.logs():
        for asked in ({"workload_ids": ("wl-unknown",)}, {"project": "unknown"}):
            answer = await world.query(**asked)
            assert (json_lines(answer), answer.known) == (b"", False)


async def test_queries_and_blocks_at_the_same_time(world: World) -> None:
    async with world.logs():

        async def ask_again_and_again() -> None:
            seen = 0
            while seen < 500:
                found = await world.numbers()
                assert len(found) == len(set(found)) >= seen
                seen = len(found)

        asking = asyncio.create_task(ask_again_and_again())
        for first in range(0, 500, 10):
            await world.send(first, first + 9)
        await asyncio.wait_for(asking, 20)


async def test_lines_of_a_node_are_found_on_nats(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """With the rights that each has, and nothing more."""
    own_nats_server.start()
    registry = own_nats_server.service("registry", service_permissions("registry"))
    gateway = own_nats_server.service("gateway", service_permissions("gateway"))
    mine = own_nats_server.service("logs", service_permissions("logs"))
    node = own_nats_server.node("nd-a")
    async with (
        on_nats(own_nats_server, registry) as registry_bus,
        on_nats(own_nats_server, gateway) as gateway_bus,
        on_nats(own_nats_server, mine) as logs_bus,
        on_nats(own_nats_server, node) as node_bus,
        Background() as background,
    ):
        await registry_bus.ensure_topology(STREAMS, CONSUMERS)

        async def known(_: KnownInstances) -> InstanceOwners:
            return InstanceOwners(instances={"in-1": ("default", "wl-1", "orders")})

        await registry_bus.serve(KNOWN_INSTANCES, known)
        logs = Logs(LogsSettings(bus=NOWHERE, data_dir=tmp_path / "logs"), logs_bus)
        await logs.start(background)
        for first in range(0, 200, 10):
            await node_bus.append(
                LOG_BLOCK, a_block(first, first + 9), msg_id=f"c0ffee-{first}", body=numbered_body(first, first + 9),
                node_id="nd-a", workload_id="wl-1",
            )  # fmt: skip
        await until(lambda: len(logs.store.index.blocks("default", "wl-1")) == 20)
        query = QueryLogs(project="default", workload_ids=("wl-1",), limit=1000)
        answer = await gateway_bus.ask(QUERY_LOGS, query)
        assert [line.number for line in read_lines(answer)] == list(range(200))
        await logs.stop()


@asynccontextmanager
async def on_nats(server: NatsServer, who: BusIdentity) -> AsyncIterator[NatsBus]:
    settings = BusSettings(
        urls=[server.url], ca_file=who.ca_file, cert_file=who.certificate_file, key_file=who.key_file,
        creds_file=who.credentials_file, server_name="localhost",
    )  # fmt: skip
    async with NatsBus(settings, identity=who.name) as bus:
        await until(lambda: bus.connected)
        yield bus


async def test_what_the_platform_says_of_itself_is_kept_apart(world: World) -> None:
    said: dict[str, Any] = {"project": "_platform", "source": "ab", "instance_id": "platform"}
    async with world.logs():
        await world.send(0, 9)
        meta = a_block(1, 3, node_id="platform", workload_id="registry", **said)
        await world.bus.append(
            SERVICE_LOG, meta, msg_id="own-1", body=numbered_body(1, 3), service="registry"
        )
        await world.send(5, 6, workload_id="agent", **{**said, "source": "cd", "instance_id": "nd-a"})
        await world.bus.settle()
        own = read_lines(await world.query(project="_platform", workload_ids=()))
        assert [(line.workload, line.node) for line in own] == [("registry", "platform")] * 3 + [
            ("agent", "attic")
        ] * 2
        assert await world.numbers(project=None, workload_ids=()) == list(range(10))
        forged = a_block(1, 1, node_id="platform", workload_id="registry", project="default", source="ef")
        await world.bus.append(
            SERVICE_LOG, forged, msg_id="own-2", body=numbered_body(1, 1), service="registry"
        )
        await world.bus.settle()
        assert len(await world.numbers(project="_platform", workload_ids=())) == 6


# --- what nodes are told -----------------------------------------------------------------------------------


class Told:
    """What a node hears, as numbers by container."""

    def __init__(self) -> None:
        self.stored: dict[str, set[int]] = defaultdict(set)
        self.refused: dict[str, set[int]] = defaultdict(set)

    async def hear(self, received: Received[LogsStored]) -> None:
        for to, ranges in ((self.stored, received.message.stored), (self.refused, received.message.refused)):
            for each in ranges:
                to[each.source] |= set(range(each.first, each.last + 1))


async def listening(world: World, node_id: str = "nd-a") -> Told:
    told = Told()
    await world.bus.subscribe(LOGS_STORED, told.hear, node_id=node_id)
    return told


async def test_a_node_is_told_what_is_on_disk(world: World) -> None:
    told = await listening(world)
    async with world.logs():
        await world.send(1, 9)
        await world.send(10, 19)
        await world.send(5, 12)
        await world.send(1, 3, source="other")
        await until(lambda: len(told.stored["c0ffee"]) == 19 and len(told.stored["other"]) == 3)
    assert not told.refused


async def test_a_node_is_told_what_will_never_be_stored(world: World) -> None:
    told = await listening(world)
    async with world.logs():
        await world.send(1, 9, instance_id="in-of-nobody", source="strange")
        await world.send(1, 5, body=b"nonsense", source="broken")
        await until(lambda: told.refused == {"strange": set(range(1, 10)), "broken": set(range(1, 6))})
    assert not told.stored


async def test_nothing_is_told_while_the_registry_cannot_say_whose_lines_they_are(world: World) -> None:
    told = await listening(world)
    world.registry_away = True
    async with world.logs():
        await world.send(1, 9)
        await until(lambda: bool(world.asked))
        assert not told.stored and not told.refused
        world.registry_away = False
        await until(lambda: len(told.stored["c0ffee"]) == 9)


async def test_a_node_that_asks_hears_what_is_stored(world: World) -> None:
    async with world.logs():
        await world.send(1, 9)
        await world.send(20, 29)
        await world.bus.settle()
    async with world.logs():  # another process, which heard of none of these
        told = await listening(world)
        held = (
            LogRange(source="c0ffee", first=5, last=25),
            LogRange(source="never", first=1, last=9),
        )
        await world.bus.publish(LOGS_HELD, LogsHeld(ranges=held), node_id="nd-a")
        await until(lambda: told.stored["c0ffee"] == {*range(5, 10), *range(20, 26)})
        foreign = await listening(world, "nd-b")
        await world.bus.publish(LOGS_HELD, LogsHeld(ranges=held), node_id="nd-b")
        await world.bus.settle()
        assert not told.stored["never"] and not foreign.stored, "of another node's containers nothing is said"


async def test_a_node_cannot_speak_for_another_nodes_container(world: World) -> None:
    """Numbers are of a container on its node: whoever names a foreign one makes none of its lines repeated."""
    world.owners["nd-b"] = {"in-b": ("default", "wl-b", "evil")}
    async with world.logs():
        await world.send(
            0,
            99,
            node_id="nd-b",
            subject_node="nd-b",
            workload_id="wl-b",
            instance_id="in-b",
            source="c0ffee",
        )
        await world.send(0, 9)
        await world.bus.settle()
        assert await world.numbers() == list(range(10))


async def test_a_gap_is_stored_shown_and_told(world: World) -> None:
    told = await listening(world)
    gap = LogGap(cause=GapCause.SPOOL_FULL, lines=10, size_bytes=900)
    async with world.logs():
        await world.send(0, 9)
        await world.send(10, 19, body=b"", gap=gap)
        await world.send(20, 29)
        await world.send(5, 14, body=b"", gap=gap)  # of which half is there
        await world.send(30, 39, body=b"x", gap=gap)  # one with a body is none
        await until(lambda: len(told.stored["c0ffee"]) == 30 and len(told.refused["c0ffee"]) == 10)
    async with world.logs():
        lines = read_lines(await world.query())
        assert [line.number for line in lines] == [*range(10), 19, *range(20, 30)]
        assert lines[10].stream == "gap" and lines[10].gap == gap
