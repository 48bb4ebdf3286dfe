"""The judge at work on a store in memory: what it writes, who of two replicas writes it, and what it does while the database is away."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from lattice.contracts.catalogue import HEARTBEAT
from lattice.contracts.messages import Heartbeat
from lattice.contracts.nouns import Amounts, Liveness, Membership
from lattice.errors import Temporary
from lattice.messaging import Received
from lattice.testing import ManualClock, MemoryDatabase, MemoryStore
from services.registry.change import Deps
from services.registry.first_start import ensure_cluster
from services.registry.judging import Judge
from services.registry.node_views import reason_of
from services.registry.presence import Presence
from services.registry.tables import ClusterRow, FactRow, NodePresenceRow, NodeRow

NAMES = ("nd-a", "nd-b", "nd-c")


class Replica:
    """One registry: its judge and what it hears."""

    def __init__(self, database: MemoryDatabase, clock: ManualClock, number: int = 0, **more: Any) -> None:
        numbers = itertools.count()
        self.clock, self.connected = clock, True
        self.store = MemoryStore(database)
        self.presence = Presence(clock.now)
        self.deps = Deps(
            store=self.store, now=clock.now, new_id=lambda prefix: f"{prefix}-{number}-{next(numbers):05d}"
        )
        self.judge = Judge(
            self.deps,
            self.presence,
            monotonic_s=clock.monotonic_s,
            is_connected=lambda: self.connected,
            **more,
        )

    async def hear(self, node_id: str, **fields: Any) -> None:
        values = {"node_id": node_id, "boot_id": "boot-1", "session": 1, "agent_version": "0.1.0"}
        message = Heartbeat(**{**values, **fields})
        subject = HEARTBEAT.address.subject(node_id=node_id)
        await self.presence.hear(Received(message, subject, {"node_id": node_id}))


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def replica(database: MemoryDatabase, clock: ManualClock) -> Replica:
    made = Replica(database, clock)
    async with made.store.transaction() as tx:
        for name in NAMES:
            tx.add(member(name, clock))
    return made


def member(node_id: str, clock: ManualClock, **columns: Any) -> NodeRow:
    values = {
        "name": node_id.removeprefix("nd-") * 3,
        "membership": Membership.APPROVED.value,
        "liveness": Liveness.READY.value,
        "fingerprint": "f",
        "nkey": f"U{node_id}",
        "sealing_key": "s",
        "boot_id": "boot-1",
        "created_at": clock.now(),
    }
    return NodeRow(id=node_id, **{**values, **columns})


async def row_of(replica: Replica, node_id: str) -> NodeRow:
    async with replica.store.transaction() as tx:
        row = await tx.get(NodeRow, node_id)
    assert row is not None
    return row


async def facts(replica: Replica) -> list[tuple[str, str]]:
    async with replica.store.transaction() as tx:
        return [(row.entity_id, row.verb) for row in await tx.find(FactRow)]


async def pass_s(seconds: int, *replicas: Replica, speaking: tuple[str, ...] = ()) -> None:
    """Let time pass, ticking each second; who speaks is heard every 5 s."""
    for second in range(seconds):
        replicas[0].clock.advance(1)
        for replica in replicas:
            for name in speaking if second % 5 == 0 else ():
                await replica.hear(name)
            await replica.judge.tick()


async def test_a_node_that_was_lost_and_is_heard_again_is_asked_what_it_has(
    database: MemoryDatabase, clock: ManualClock
) -> None:
    """Its next report of everything was up to half a minute away, and until then it took no work."""
    asked: list[str] = []
    replica = Replica(database, clock, heard_again=asked.append)
    async with replica.store.transaction() as tx:
        tx.add(member(NAMES[0], clock))
    await pass_s(1, replica, speaking=NAMES[:1])
    await pass_s(20, replica)
    assert (await row_of(replica, NAMES[0])).liveness == Liveness.UNREACHABLE and asked == []
    await pass_s(6, replica, speaking=NAMES[:1])
    assert (await row_of(replica, NAMES[0])).liveness == Liveness.JOINING and asked == [NAMES[0]]


async def test_a_silent_node_becomes_suspect_then_unreachable_and_ready_by_reporting(
    replica: Replica,
) -> None:
    await pass_s(30, replica, speaking=("nd-b", "nd-c"))
    assert await facts(replica) == [("nd-a", "suspect"), ("nd-a", "unreachable")]
    row = await row_of(replica, "nd-a")
    assert (row.liveness, row.placement_version) == ("unreachable", 3)
    await pass_s(3, replica, speaking=("nd-a", "nd-b", "nd-c"))
    assert (await row_of(replica, "nd-a")).liveness == "joining"


HOLD = timedelta(seconds=60)


async def held(replica: Replica) -> bool:
    async with replica.store.transaction() as tx:
        cluster = await tx.get(ClusterRow, 1)
    return cluster is not None and cluster.moves_held_until is not None


async def test_a_hold_ends_when_every_node_is_back(
    replica: Replica, database: MemoryDatabase, clock: ManualClock
) -> None:
    """It held the moves of a node that was lost minutes later, alone."""
    await ensure_cluster(replica.deps, "c1234567")
    judging = Replica(database, clock, 1, mass_loss_hold=HOLD)
    await pass_s(3, judging, speaking=NAMES)
    await pass_s(20, judging, speaking=("nd-c",))
    await pass_s(12, judging, speaking=NAMES)
    assert await held(judging), "they are heard, and what they have is not known yet"
    async with judging.store.transaction() as tx:
        for row in await tx.find(NodeRow, lock=True):
            tx.update(row, liveness=Liveness.READY.value)
    await pass_s(12, judging, speaking=NAMES)
    assert not await held(judging) and ("platform", "moves_released") in await facts(judging)


async def test_a_hold_ends_after_its_time_of_own_health_and_begins_anew_when_we_were_away(
    replica: Replica, database: MemoryDatabase, clock: ManualClock
) -> None:
    await ensure_cluster(replica.deps, "c1234567")
    first = Replica(database, clock, 1, mass_loss_hold=HOLD)
    await pass_s(3, first, speaking=NAMES)
    await pass_s(20, first, speaking=("nd-c",))
    assert await held(first), "two of three vanished together"
    await pass_s(40, first, speaking=("nd-c",))
    first.connected = False
    await pass_s(2, first)
    first.connected = True
    await pass_s(55, first, speaking=("nd-c",))
    assert await held(first), "we were cut off in the meantime"
    clock.advance(10 * HOLD.total_seconds())
    second = Replica(database, clock, 2, mass_loss_hold=HOLD)
    await pass_s(55, second, speaking=("nd-c",))
    assert await held(second), "the process was away for longer than the hold"
    await pass_s(20, second, speaking=("nd-c",))
    assert not await held(second) and ("platform", "moves_released") in await facts(second)


async def test_presence_is_written_in_bulk_without_touching_the_nodes(replica: Replica) -> None:
    await pass_s(3, replica, speaking=NAMES)
    before = await row_of(replica, "nd-a")
    await replica.hear("nd-a", usage=Amounts(cpu_millis=700))
    await pass_s(2, replica)
    async with replica.store.transaction() as tx:
        seen = {row.id: row for row in await tx.find(NodePresenceRow)}
    assert seen.keys() == set(NAMES)
    assert seen["nd-a"].usage["cpu_millis"] == 700
    assert seen["nd-a"].last_seen > seen["nd-b"].last_seen
    assert await row_of(replica, "nd-a") == before


async def test_a_broken_engine_is_told_and_moves_the_placement_version(replica: Replica) -> None:
    await pass_s(1, replica, speaking=NAMES)
    await replica.hear("nd-a", docker_problem="the socket does not answer")
    await pass_s(1, replica)
    row = await row_of(replica, "nd-a")
    assert (row.docker_problem, row.placement_version) == ("the socket does not answer", 2)
    await pass_s(1, replica, speaking=NAMES)
    assert (await row_of(replica, "nd-a")).docker_problem == ""
    assert await facts(replica) == [("nd-a", "degraded"), ("nd-a", "recovered")]


def disk(used_percent: int) -> dict[str, Any]:
    return {"usage": Amounts(disk_bytes=used_percent), "disk_free_bytes": 100 - used_percent}


async def test_a_full_disk_is_told_and_moves_the_placement_version_until_it_is_freed(
    replica: Replica,
) -> None:
    async def report(used_percent: int) -> NodeRow:
        await replica.hear("nd-a", **disk(used_percent))
        await pass_s(1, replica)
        return await row_of(replica, "nd-a")

    assert (await report(85)).disk_full is None
    row = await report(91)
    assert "disk 91 % full, new work is refused above 85 %" in reason_of(row)
    assert row.placement_version == 2
    assert await report(92) == row  # a percent more or less is not worth a write
    assert "disk 82 % full, new work is refused until it is below 80 %" in reason_of(await report(82))
    freed = await report(79)
    assert (freed.disk_full, reason_of(freed)) == (None, "")
    assert freed.placement_version > row.placement_version
    assert await facts(replica) == [("nd-a", "disk_full"), ("nd-a", "disk_freed")]


async def test_a_mass_loss_is_said_once(replica: Replica) -> None:
    await pass_s(200, replica, speaking=NAMES)
    await pass_s(30, replica, speaking=("nd-c",))
    async with replica.store.transaction() as tx:
        (said,) = await tx.find(FactRow, entity="platform")
    assert (said.verb, said.data) == ("mass_node_loss", {"nodes": ["nd-a", "nd-b"], "of": 3})


async def test_two_replicas_write_each_change_once(
    replica: Replica, database: MemoryDatabase, clock: ManualClock
) -> None:
    other = Replica(database, clock, number=1)
    await pass_s(40, replica, other, speaking=("nd-b", "nd-c"))
    await pass_s(40, other, speaking=("nd-b", "nd-c"))  # the first one died
    assert await facts(replica) == [("nd-a", "suspect"), ("nd-a", "unreachable")]
    await pass_s(20, other, speaking=("nd-b",))
    assert ("nd-c", "unreachable") in await facts(other)


async def test_while_the_database_is_away_nothing_is_lost(replica: Replica, database: MemoryDatabase) -> None:
    await pass_s(3, replica, speaking=NAMES)
    database.away = True
    for second in range(20):
        replica.clock.advance(1)
        if second % 5 == 0:
            await replica.hear("nd-b")
            await replica.hear("nd-c")
        with pytest.raises(Temporary):
            await replica.judge.tick()
    database.away = False
    await pass_s(3, replica, speaking=("nd-b", "nd-c"))
    assert (await row_of(replica, "nd-a")).liveness == "unreachable"
    assert (await row_of(replica, "nd-b")).liveness == "ready"


async def test_while_the_link_is_down_nobody_is_lost(replica: Replica) -> None:
    replica.connected = False
    await pass_s(60, replica)
    replica.connected = True
    await pass_s(5, replica, speaking=NAMES)
    assert await facts(replica) == []


async def test_what_the_row_says_wins_over_what_the_judge_believed(replica: Replica) -> None:
    await pass_s(3, replica, speaking=NAMES)
    async with replica.store.transaction() as tx:
        row = await tx.get(NodeRow, "nd-a")
        assert row is not None
        tx.update(row, membership=Membership.REVOKED.value)
    await pass_s(30, replica, speaking=("nd-b", "nd-c"))
    assert await facts(replica) == []


async def test_an_approved_node_that_never_came_stays_joining(replica: Replica, clock: ManualClock) -> None:
    async with replica.store.transaction() as tx:
        tx.add(member("nd-d", clock, liveness=Liveness.JOINING.value, boot_id=""))
    await pass_s(60, replica, speaking=NAMES)
    assert (await row_of(replica, "nd-d")).liveness == "joining"
    await pass_s(5, replica, speaking=(*NAMES, "nd-d"))
    await pass_s(30, replica, speaking=NAMES)
    assert (await row_of(replica, "nd-d")).liveness == "unreachable"


async def test_a_stranger_is_not_counted(replica: Replica, clock: ManualClock) -> None:
    async with replica.store.transaction() as tx:
        tx.add(member("nd-p", clock, membership=Membership.PENDING.value))
    await pass_s(25, replica, speaking=(*NAMES, "nd-p", "nd-unknown"))
    async with replica.store.transaction() as tx:
        assert {row.id for row in await tx.find(NodePresenceRow)} == set(NAMES)
    assert await facts(replica) == []


async def test_a_clone_does_not_keep_a_node_alive(replica: Replica) -> None:
    await pass_s(2, replica, speaking=NAMES)
    for _ in range(20):
        await replica.hear("nd-a", boot_id="boot-2", session=1)
        await pass_s(1, replica)
    assert (await row_of(replica, "nd-a")).liveness == "unreachable"


async def test_a_node_speaks_for_itself_only(replica: Replica) -> None:
    subject = HEARTBEAT.address.subject(node_id="nd-a")
    lie = Heartbeat(node_id="nd-b", boot_id="x", session=9, agent_version="1")
    await replica.presence.hear(Received(lie, subject, {"node_id": "nd-a"}))
    assert replica.presence.take_heard() == frozenset()
