"""The scheduler against a registry that commits, refuses, moves its nodes, and fences old terms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from lattice.bus import NatsBus
from lattice.clock import SystemClock
from lattice.contracts.catalogue import (
    COMMIT_PLACEMENTS,
    FACT,
    PLACEMENT_WANTED,
    SCHEDULING_SNAPSHOT,
    TAKE_TERM,
)
from lattice.contracts.messages import (
    CommitPlacements,
    Fact,
    Placement,
    PlacementRequest,
    PlacementsCommitted,
    PlacementWanted,
    RefusedPlacement,
    SchedulableNode,
    SchedulingQuery,
    SchedulingSnapshot,
    TakeTerm,
    Term,
)
from lattice.contracts.nouns import Amounts
from lattice.contracts.permissions import service_permissions
from lattice.contracts.streams import CONSUMERS, STREAMS
from lattice.errors import Conflict, Temporary
from lattice.messaging import Bus
from lattice.settings import BusSettings
from lattice.testing import MemoryBus
from lattice.testing.broker import MemoryBroker
from services.scheduler.app import Scheduler
from services.scheduler.rounds import MOST_TRIES
from tests.fixtures.nats import NatsServer
from tests.fixtures.scheduling import a_node, a_request, amounts, rule

LEASE_TTL_S = 0.4
NEVER_S = 3600.0


def accept_all(_: Placement) -> str | None:
    return None


@dataclass
class Registry:
    """Commits as the real one does; `refuse` may say no, `gate` holds commits of term 1 back, `away` fails everything."""

    bus: Bus
    nodes: dict[str, SchedulableNode] = field(default_factory=dict)
    wanted: dict[str, PlacementRequest] = field(default_factory=dict)
    placed: dict[str, Placement] = field(default_factory=dict)
    unplaceable: dict[str, str] = field(default_factory=dict)
    leaders: list[str] = field(default_factory=list)
    commits: list[CommitPlacements] = field(default_factory=list)
    snapshots: int = 0
    asked: list[frozenset[str] | None] = field(default_factory=list)
    refused_terms: list[int] = field(default_factory=list)
    refuse: Callable[[Placement], str | None] = accept_all
    before_commit: Callable[[], None] = lambda: None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    away: bool = False
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    async def serve(self) -> None:
        self.gate.set()
        await self.bus.serve(TAKE_TERM, self.take_term)
        await self.bus.serve(SCHEDULING_SNAPSHOT, self.snapshot)
        await self.bus.serve(COMMIT_PLACEMENTS, self.commit)

    @property
    def term(self) -> int:
        return len(self.leaders)

    async def take_term(self, request: TakeTerm) -> Term:
        self.leaders.append(request.leader)
        return Term(term=self.term)

    async def snapshot(self, query: SchedulingQuery) -> SchedulingSnapshot:
        if self.away:
            raise Temporary("The registry is away.")
        self.snapshots += 1
        self.asked.append(query.workload_ids)
        wanted = [
            each
            for each in self.wanted.values()
            if query.workload_ids is None or each.workload_id in query.workload_ids
        ]
        return SchedulingSnapshot(term=self.term, nodes=tuple(self.nodes.values()), wanted=tuple(wanted))

    async def commit(self, request: CommitPlacements) -> PlacementsCommitted:
        self.commits.append(request)
        await self.gate.wait()
        if request.term != self.term:
            self.refused_terms.append(request.term)
            raise Conflict(f"term {request.term} is over")
        self.before_commit()
        seen = {node_id: node.placement_version for node_id, node in self.nodes.items()}
        answers = {one.instance_id: self._place(one, seen) for one in request.placements}
        self.unplaceable |= {one.instance_id: one.summary for one in request.unplaceable}
        return PlacementsCommitted(
            accepted=tuple(key for key, problem in answers.items() if problem is None),
            refused=tuple(
                RefusedPlacement(instance_id=key, reason=problem)
                for key, problem in answers.items()
                if problem
            ),
            nodes=tuple(self.nodes[one.node_id] for one in request.placements),
        )

    def _place(self, placement: Placement, seen: dict[str, int]) -> str | None:
        node = self.nodes[placement.node_id]
        if seen[node.node_id] != placement.placement_version:
            return "the node changed meanwhile"
        if problem := self.refuse(placement):
            return problem
        need = self.wanted.pop(placement.instance_id).reserve
        reserved = add(node.reserved, need)
        assert reserved.memory_bytes <= node.capacity.memory_bytes
        count = node.workloads.get(placement.workload_id, 0) + 1
        self.change(
            node.node_id, reserved=reserved, workloads=node.workloads | {placement.workload_id: count}
        )
        self.placed[placement.instance_id] = placement
        return None

    def change(self, node_id: str, **changes: Any) -> None:
        node = self.nodes[node_id]
        self.nodes[node_id] = node.model_copy(
            update={**changes, "placement_version": node.placement_version + 1}
        )

    def want(self, *requests: PlacementRequest) -> None:
        self.wanted |= {request.instance_id: request for request in requests}

    async def wake(self, workload_id: str = "wl-1") -> None:
        """Ask for placements, as the relay does."""
        message = PlacementWanted(workload_id=workload_id)
        msg_id = f"wu-{next(self.numbers)}"
        await self.bus.append(PLACEMENT_WANTED, message, msg_id=msg_id, workload_id=workload_id)

    async def tell(self, entity: str, verb: str) -> None:
        """Distribute a fact."""
        number = next(self.numbers)
        fact = Fact(
            seq=number, id=f"fa-{number}", project="_platform", entity=entity, verb=verb, entity_id="nd-a",
            actor="test", at=datetime(2030, 1, 1, tzinfo=UTC),
        )  # fmt: skip
        await self.bus.append(FACT, fact, msg_id=fact.id, project="_platform", entity=entity, verb=verb)


def add(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(**{name: getattr(one, name) + getattr(other, name) for name in Amounts.model_fields})


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(SystemClock())


@pytest.fixture
def bus(broker: MemoryBroker) -> MemoryBus:
    """The registry's."""
    return MemoryBus(broker, identity="registry")


@pytest.fixture
async def registry(bus: MemoryBus) -> Registry:
    registry = Registry(bus)
    registry.nodes = {node_id: a_node(node_id) for node_id in ("nd-a", "nd-b")}
    await registry.serve()
    return registry


@asynccontextmanager
async def running(bus: Bus, holder: str = "one", *, sweep_s: float = NEVER_S) -> AsyncIterator[Scheduler]:
    scheduler = Scheduler(bus, holder=holder, lease_ttl_s=LEASE_TTL_S, sweep_s=sweep_s)
    task = asyncio.create_task(scheduler.run())
    try:
        yield scheduler
    finally:
        while not task.done():  # a cancel that meets a reply is lost by `asyncio.wait_for` of Python 3.11
            task.cancel()
            await asyncio.wait([task], timeout=0.2)
        assert task.cancelled(), task.exception()


async def until(what: Callable[[], bool], *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(0.005)


# ---------------------------------------------------------------- placing


async def test_places_what_waits_when_it_begins_to_lead(broker: MemoryBroker, registry: Registry) -> None:
    registry.want(a_request("in-1"), a_request("in-2", slot=1))
    async with running(MemoryBus(broker)) as scheduler:
        await until(lambda: len(registry.placed) == 2)
    assert scheduler.term is None
    assert {one.node_id for one in registry.placed.values()} == {"nd-a", "nd-b"}
    assert registry.commits[0].term == 1
    assert registry.placed["in-1"].reason


async def test_many_wake_ups_are_one_round(broker: MemoryBroker, bus: MemoryBus, registry: Registry) -> None:
    async with running(MemoryBus(broker)):
        await until(lambda: registry.snapshots == 1)
        registry.want(
            *(a_request(f"in-{n:02}", workload_id=f"wl-{n}", reserve=amounts(cpu=0.1)) for n in range(40))
        )
        await asyncio.gather(*(registry.wake(f"wl-{number}") for number in range(40)))
        await until(lambda: len(registry.placed) == 40)
        await bus.settle()
    assert registry.snapshots <= 4
    assert not bus.dead_letters


async def test_a_wake_up_costs_nothing_for_what_waits_in_vain(
    broker: MemoryBroker, bus: MemoryBus, registry: Registry
) -> None:
    """Room that comes free later is still looked at for all."""
    async with running(MemoryBus(broker)):
        await until(lambda: registry.snapshots == 1)
        registry.want(a_request("in-old", workload_id="wl-old", reserve=amounts(memory=100)))
        await registry.wake("wl-old")
        await until(lambda: "in-old" in registry.unplaceable)
        registry.want(a_request("in-new", workload_id="wl-new"))
        await registry.wake("wl-new")
        await until(lambda: "in-new" in registry.placed)
        assert registry.asked == [None, {"wl-old"}, {"wl-new"}]
        registry.change("nd-a", capacity=amounts(memory=200))
        await registry.tell("node", "changed")
        await until(lambda: "in-old" in registry.placed)


async def test_an_unplaceable_instance_is_reported_and_its_message_acknowledged(
    broker: MemoryBroker, bus: MemoryBus, registry: Registry
) -> None:
    async with running(MemoryBus(broker)):
        await until(lambda: registry.snapshots == 1)
        registry.want(a_request("in-1", reserve=amounts(memory=100)), a_request("in-2"))
        await registry.wake()
        await bus.settle()
        assert set(registry.placed) == {"in-2"}
        assert registry.unplaceable["in-1"].startswith("no node fits: 2 nodes lack memory")


async def test_who_has_to_be_near_another_is_tried_again_when_that_one_has_a_place(
    broker: MemoryBroker, bus: MemoryBus, registry: Registry
) -> None:
    async with running(MemoryBus(broker)):
        await until(lambda: registry.snapshots == 1)
        registry.want(a_request("in-web", workload_id="wl-web", affinity=(rule("db"),)))
        await registry.wake("wl-web")
        await until(lambda: "in-web" in registry.unplaceable)
        registry.want(a_request("in-db", workload_id="wl-db"))
        await registry.wake("wl-db")
        await until(lambda: "in-db" in registry.placed)
        await registry.tell("instance", "placed")
        await until(lambda: "in-web" in registry.placed)
    assert registry.placed["in-web"].node_id == registry.placed["in-db"].node_id


@pytest.mark.parametrize(
    ("entity", "verb", "looks"),
    [
        ("node", "uncordoned", True),
        ("node", "ready", True),
        ("node", "updated", True),  # its labels or its pool
        ("node", "disk_freed", True),
        ("instance", "gone", True),
        ("volume", "released", True),
        ("instance", "placed", False),
        ("workload", "created", False),
        ("instance", "ready", False),
        ("secret", "set", False),
    ],
)
async def test_facts_that_may_make_room_are_looked_after(
    broker: MemoryBroker,
    bus: MemoryBus,
    registry: Registry,
    entity: str,
    verb: str,
    looks: bool,
) -> None:
    for node_id in registry.nodes:
        registry.change(node_id, state="cordoned")
    registry.want(a_request("in-1"))
    async with running(MemoryBus(broker)):
        await until(lambda: "in-1" in registry.unplaceable)
        registry.change("nd-a", state="ready")
        seen = registry.snapshots
        await registry.tell(entity, verb)
        await bus.settle()
        if looks:
            await until(lambda: "in-1" in registry.placed)
        else:
            assert registry.snapshots == seen


async def test_facts_are_ignored_while_nobody_waits(
    broker: MemoryBroker, bus: MemoryBus, registry: Registry
) -> None:
    async with running(MemoryBus(broker)):
        await until(lambda: len(registry.commits) == 0 and registry.snapshots == 1)
        await asyncio.sleep(0.1)  # what happens during a round may make room, so it is looked at again
        for _ in range(20):
            await registry.tell("node", "changed")
        await bus.settle()
        assert registry.snapshots == 1


async def test_the_sweep_finds_what_nobody_announced(broker: MemoryBroker, registry: Registry) -> None:
    async with running(MemoryBus(broker), sweep_s=0.05):
        await until(lambda: registry.snapshots >= 1)
        registry.want(a_request("in-1"))
        await until(lambda: "in-1" in registry.placed)


# ---------------------------------------------------------------- lost races


async def test_losers_are_placed_again_on_the_nodes_as_they_are_now(
    broker: MemoryBroker, registry: Registry
) -> None:
    """Just before the first commit node b fills up: what was meant for it goes to a."""
    moves = [lambda: registry.change("nd-b", reserved=amounts(memory=8))]
    registry.before_commit = lambda: moves.pop()() if moves else None
    registry.want(a_request("in-1"), a_request("in-2", slot=1))
    async with running(MemoryBus(broker)):
        await until(lambda: len(registry.placed) == 2)
    assert [one.node_id for one in registry.placed.values()] == ["nd-a", "nd-a"]
    assert len(registry.commits) == 2


async def test_winners_of_a_partial_commit_keep_their_place(broker: MemoryBroker, registry: Registry) -> None:
    refusals = {"in-2": 2}

    def refuse(placement: Placement) -> str | None:
        left = refusals.get(placement.instance_id, 0)
        refusals[placement.instance_id] = left - 1
        return "not now" if left > 0 else None

    registry.refuse = refuse
    registry.want(*(a_request(f"in-{n}", slot=n) for n in range(4)))
    async with running(MemoryBus(broker)):
        await until(lambda: len(registry.placed) == 4)
    assert [len(commit.placements) for commit in registry.commits] == [4, 1, 1]


async def test_a_registry_that_always_refuses_is_not_asked_for_ever(
    broker: MemoryBroker, bus: MemoryBus, registry: Registry
) -> None:
    registry.refuse = lambda _: "never"
    registry.want(a_request("in-1"))
    async with running(MemoryBus(broker)):
        await registry.wake()
        await until(lambda: registry.snapshots >= 1)
        await bus.settle()
        assert registry.snapshots <= len(registry.commits) / MOST_TRIES + 1
        assert not registry.placed
        registry.refuse = accept_all
        await registry.wake()
        await until(lambda: "in-1" in registry.placed)


async def test_a_registry_that_is_away_is_asked_again(
    broker: MemoryBroker, bus: MemoryBus, registry: Registry
) -> None:
    async with running(MemoryBus(broker)):
        await until(lambda: registry.snapshots == 1)
        registry.away = True
        registry.want(a_request("in-1"))
        await registry.wake()
        await asyncio.sleep(0)
        registry.away = False
        await until(lambda: "in-1" in registry.placed)
        await bus.settle()
    assert not bus.dead_letters


async def test_more_than_one_batch(broker: MemoryBroker, registry: Registry) -> None:
    registry.nodes = {
        f"nd-{n}": a_node(f"nd-{n}", capacity=amounts(cpu=100, memory=1000, disk=1)) for n in range(7)
    }
    need = amounts(cpu=0.1, memory=0.1)
    registry.want(*(a_request(f"in-{n:04}", workload_id=f"wl-{n % 9}", reserve=need) for n in range(700)))
    async with running(MemoryBus(broker)):
        await until(lambda: len(registry.placed) == 700)
    assert len(registry.commits) == 3


# ---------------------------------------------------------------- leading


async def test_of_two_only_one_leads(broker: MemoryBroker, registry: Registry) -> None:
    async with running(MemoryBus(broker), "one") as one, running(MemoryBus(broker), "two") as two:
        await until(lambda: registry.term == 1)
        for number in range(5):
            registry.want(a_request(f"in-{number}"))
            await registry.wake()
            await until(lambda n=number: f"in-{n}" in registry.placed)  # type: ignore[misc]
        await asyncio.sleep(2 * LEASE_TTL_S)  # a lease that were not renewed would be lost by now
        assert [one.term, two.term].count(None) == 1
    assert registry.term == 1


async def test_a_leader_that_ends_is_followed_at_once(broker: MemoryBroker, registry: Registry) -> None:
    async with running(MemoryBus(broker), "two") as two:
        await until(lambda: two.term == 1)
    async with running(MemoryBus(broker), "three") as three:
        await until(lambda: three.term == 2, within_s=LEASE_TTL_S)


async def test_a_leader_killed_between_load_and_commit_is_followed_and_its_late_commit_refused(
    broker: MemoryBroker, registry: Registry
) -> None:
    """The first leader's commit is on its way when it loses its link; it arrives after the second has taken over."""
    registry.gate.clear()
    registry.want(a_request("in-1"))
    first_bus = MemoryBus(broker)
    async with running(first_bus, "one") as one:
        await until(lambda: len(registry.commits) == 1)
        first_bus.disconnect()
        async with running(MemoryBus(broker), "two") as two:
            await until(lambda: two.term == 2)
            registry.gate.set()
            await until(lambda: "in-1" in registry.placed)
            await until(lambda: one.term is None)
            await first_bus.reconnect()
            registry.want(a_request("in-2"))
            await registry.wake()
            await until(lambda: "in-2" in registry.placed)
            assert (one.term, two.term) == (None, 2)
    assert registry.refused_terms == [1]
    assert registry.leaders == ["one", "two"]


async def test_a_leader_whose_term_is_over_steps_down_at_its_next_round(
    broker: MemoryBroker, registry: Registry
) -> None:
    async with running(MemoryBus(broker), "one") as one:
        await until(lambda: one.term == 1)
        registry.leaders.append("somebody else")
        registry.want(a_request("in-1"))
        await registry.wake()
        await until(lambda: one.term == 3)  # it stepped down, and was chosen again
        await until(lambda: "in-1" in registry.placed)
    assert all(commit.term == 3 for commit in registry.commits)


async def test_a_wake_up_survives_the_change_of_leaders(
    broker: MemoryBroker, bus: MemoryBus, registry: Registry
) -> None:
    first_bus = MemoryBus(broker)
    async with running(first_bus, "one") as one:
        await until(lambda: one.term == 1)
        registry.gate.clear()
        registry.want(a_request("in-1"))
        await registry.wake()
        await until(lambda: len(registry.commits) == 1)
    registry.gate.set()
    async with running(MemoryBus(broker), "two"):
        await until(lambda: "in-1" in registry.placed)
        await bus.settle()
    assert not bus.dead_letters


# ---------------------------------------------------------------- on the real bus, with its own rights only


async def test_places_and_hands_over_on_nats(own_nats_server: NatsServer) -> None:
    own_nats_server.start()
    async with on_nats(own_nats_server, "registry") as registry_bus:
        await registry_bus.ensure_topology(STREAMS, CONSUMERS)
        registry = Registry(registry_bus, {"nd-a": a_node("nd-a")})
        await registry.serve()
        registry.want(a_request("in-1"))
        async with on_nats(own_nats_server, "scheduler") as bus, running(bus, "one") as one:
            await until(lambda: "in-1" in registry.placed)
            registry.want(a_request("in-2"))
            await registry.wake()
            await until(lambda: "in-2" in registry.placed)
            registry.want(a_request("in-3", reserve=amounts(memory=7)))
            await registry.wake()
            await until(lambda: "in-3" in registry.unplaceable)
            registry.change("nd-a", reserved=Amounts())
            await registry.tell("instance", "gone")
            await until(lambda: "in-3" in registry.placed)
            assert one.term == 1
        async with on_nats(own_nats_server, "scheduler") as bus, running(bus, "two") as two:
            await until(lambda: two.term == 2)
            registry.want(a_request("in-4", reserve=amounts(cpu=0.1)))
            await registry.wake()
            await until(lambda: "in-4" in registry.placed)


@asynccontextmanager
async def on_nats(server: NatsServer, identity: str) -> AsyncIterator[NatsBus]:
    who = server.service(identity, service_permissions(identity))
    settings = BusSettings(
        urls=[server.url], ca_file=who.ca_file, cert_file=who.certificate_file, key_file=who.key_file,
        creds_file=who.credentials_file, server_name="localhost",
    )  # fmt: skip
    async with NatsBus(settings, identity=identity) as bus:
        await until(lambda: bus.connected)
        yield bus
