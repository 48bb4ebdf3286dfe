"""The log store on the bus: from a node's block to an answered query, whatever is repeated, forged or away."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lattice.background import Background
from lattice.bus import NatsBus
from lattice.clock import SystemClock
from lattice.contracts.catalogue import KNOWN_INSTANCES, LOG_BLOCK, LOGS_HELD, LOGS_STORED, QUERY_LOGS
from lattice.contracts.messages import (
    InstanceOwners,
    KnownInstances,
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
from lattice.metrics import REGISTRY
from lattice.settings import BusSettings
from lattice.testing import MemoryBus
from lattice.testing.broker import MemoryBroker
from services.logs import segments
from services.logs.app import Logs
from services.logs.settings import LogsSettings
from tests.fixtures.log_blocks import START_NS, a_block, numbered_body, text_of
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
    told: dict[str, list[LogsStored]] = field(default_factory=lambda: defaultdict(list))

    async def serve(self) -> None:
        await self.bus.serve(KNOWN_INSTANCES, self.known)
        await self.bus.subscribe(LOGS_STORED, self.hear)

    async def hear(self, received: Received[LogsStored]) -> None:
        self.told[received.tokens["node_id"]].append(received.message)

    def stored(self, node_id: str = "nd-a") -> list[int]:
        """The numbers that a node was told are stored, each as often as it was."""
        return _numbers(each for said in self.told[node_id] for each in said.stored)

    def refused(self, node_id: str = "nd-a") -> list[int]:
        return _numbers(each for said in self.told[node_id] for each in said.refused)

    async def ask(self, first: int, last: int, *, node_id: str = "nd-a") -> LogsStored:
        """What a node is told when it asks."""
        self.told.clear()
        asked = LogsHeld(ranges=(LogRange(source="c0ffee", first=first, last=last),))
        await self.bus.publish(LOGS_HELD, asked, node_id=node_id)
        await self.bus.settle()
        (said,) = self.told[node_id]
        return said

    async def known(self, request: KnownInstances) -> InstanceOwners:
        self.asked.append(request.node_id)
        if self.registry_away:
            raise Temporary("The registry is away.")
        known = self.owners.get(request.node_id, {}).items()
        return InstanceOwners(instances={id_: owner for id_, owner in known if id_ == request.instance_id})

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
        values = {"project": "default", "workload_id": "wl-1", "limit": 10_000} | asked
        return await self.bus.ask(QUERY_LOGS, QueryLogs(**values))

    async def numbers(self, **asked: Any) -> list[int]:
        found = (await self.query(**asked)).lines
        assert [line.message for line in found] == [text_of(line.number) for line in found]
        return [line.number for line in found]


@pytest.fixture
async def world(tmp_path: Path) -> World:
    broker = MemoryBroker(SystemClock())
    world = World(broker, MemoryBus(broker), tmp_path)
    world.owners["nd-a"] = {"in-1": ("default", "wl-1", "orders")}
    await world.serve()
    return world


def _numbers(ranges: Iterable[LogRange]) -> list[int]:
    return sorted(number for each in ranges for number in range(each.first, each.last + 1))


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
        line = (await world.query(limit=1)).lines[0]
        assert (line.workload, line.node, line.instance, line.message) == ("orders", "nd-a", "in-1", "line 9")
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


async def test_a_node_is_told_what_is_stored_also_of_what_was_there(world: World) -> None:
    async with world.logs():
        for first in (0, 10):
            await world.send(first, first + 9)
        await world.bus.settle()
        assert world.stored() == list(range(20))
        await world.send(0, 9)
        await world.bus.settle()
        assert world.stored() == sorted([*range(20), *range(10)])
    assert world.refused() == []
    assert list(world.told) == ["nd-a"]


async def test_blocks_that_are_stored_together_are_told_together(world: World) -> None:
    for first in range(0, 400, 10):
        await world.send(first, first + 9)
    async with world.logs():
        await world.bus.settle()
    assert world.stored() == list(range(400))
    assert len(world.told["nd-a"]) < 10


async def test_a_node_that_asks_is_told_its_own_and_of_nobody_elses(world: World) -> None:
    async with world.logs():
        await world.send(10, 19)
        await world.send(30, 39)
        await world.bus.settle()
        said = await world.ask(0, 34)
        assert _numbers(said.stored) == [*range(10, 20), *range(30, 35)]
        assert await world.ask(0, 5) == LogsStored(), "nothing of it is stored, and that is an answer"
        assert await world.ask(0, 34, node_id="nd-b") == LogsStored()
    async with world.logs():
        assert _numbers((await world.ask(0, 34)).stored) == [*range(10, 20), *range(30, 35)]


async def test_a_node_cannot_take_the_numbers_of_anothers_container(world: World) -> None:
    world.owners["nd-b"] = {"in-2": ("default", "wl-2", "invoices")}
    async with world.logs():
        await world.send(0, 9, node_id="nd-b", subject_node="nd-b", workload_id="wl-2", instance_id="in-2")
        await world.send(0, 9)
        await world.bus.settle()
        assert await world.numbers() == list(range(10))
        assert world.stored("nd-a") == world.stored("nd-b") == list(range(10))


async def test_what_will_never_be_taken_is_said_and_said_again(world: World) -> None:
    async with world.logs():
        await world.send(0, 9, instance_id="in-9")
        await world.send(10, 19, body=b"nonsense")
        await world.bus.settle()
        assert world.refused() == list(range(20))
        assert world.stored() == []
        said = await world.ask(0, 100)
        assert (_numbers(said.stored), _numbers(said.refused)) == ([], list(range(20)))


async def test_only_the_node_that_sent_it_is_told_that_it_is_refused(world: World) -> None:
    async with world.logs():
        await world.send(0, 9, node_id="nd-a", subject_node="nd-b")
        await world.bus.settle()
    assert world.refused("nd-b") == list(range(10))
    assert world.refused("nd-a") == []


async def test_what_cannot_be_written_now_is_not_confirmed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def full(*_: object) -> None:
        refused.append(1)
        raise OSError(28, "No space left on device")

    async with world.logs():
        with monkeypatch.context() as patched:
            patched.setattr(segments, "_write_all", full)
            await asyncio.gather(*(world.send(0, 9) for _ in range(3)))
            await until(lambda: len(refused) >= 2)
            assert not world.told
        await world.bus.settle()
        assert set(world.stored()) == set(range(10))
        assert await world.numbers() == list(range(10))


async def test_a_gap_is_stored_confirmed_and_counted(world: World) -> None:
    def missing() -> float:
        return REGISTRY.get_sample_value("lattice_logs_gap_lines_total", {"cause": "rotated"}) or 0.0

    before = missing()
    async with world.logs():
        await world.send(0, 4)
        await world.send(0, 9, body=b"", gap={"cause": "rotated", "lines": 10})
        await world.send(10, 19)
        await world.bus.settle()
        assert set(world.stored()) == set(range(20))
        assert await world.numbers() == [*range(5), *range(10, 20)]
    assert missing() == before + 5


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
        assert len((await world.query()).lines) == 40


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
        assert (await world.query(limit=1)).lines[0].workload == "orders"


async def test_what_is_too_old_is_let_go_in_the_background(world: World) -> None:
    async with world.logs(max_age_s=0.05, retention_every_s=0.02) as logs:
        await world.send(0, 9)
        await world.bus.settle()
        await until(lambda: not list(logs.store.index.segments()))
        assert await world.numbers() == []


def files(world: World, name: str) -> list[str]:
    return sorted(path.suffix for path in (world.folder / name).rglob("*") if path.suffix)


async def test_a_silent_workloads_segment_is_packed_in_the_background(world: World) -> None:
    async with world.logs(segment_age_s=0.01, pack_every_s=0.02):
        for first in (0, 10, 20):
            await world.send(first, first + 9)
        await world.bus.settle()
        await until(lambda: ".seg" not in files(world, "logs"))
        assert await world.numbers() == list(range(30))
        await world.send(30, 39)
        await world.bus.settle()
        assert await world.numbers() == list(range(40))


async def test_what_is_in_the_object_store_alone_is_found_and_let_go(
    world: World, object_store_url: str
) -> None:
    quick = {"segment_age_s": 0.01, "pack_every_s": 0.02, "tier_every_s": 0.02, "retention_every_s": 0.02}
    quick |= {"tier_local_bytes": 1}
    async with world.logs(tier_url=object_store_url, **quick):
        await world.send(0, 9)
        await world.bus.settle()
        await until(lambda: files(world, "logs") == [".index"])
        assert await world.numbers() == list(range(10))
    async with world.logs(tier_url=object_store_url, max_age_s=0.01, **quick):
        await until(lambda: files(world, "logs") == [])
        assert not files(world, "objects")
        assert not files(world, "served")


async def test_a_wrong_query_is_answered_with_nothing(world: World) -> None:
    async with world.logs():
        assert (await world.query(workload_id="wl-unknown")).lines == ()
        assert (await world.query(project="unknown")).lines == ()


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
        query = QueryLogs(project="default", workload_id="wl-1", limit=1000)
        answer = await gateway_bus.ask(QUERY_LOGS, query)
        assert [line.number for line in answer.lines] == list(range(200))
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
