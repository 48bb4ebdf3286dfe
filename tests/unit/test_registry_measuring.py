"""What the registry measures: steps of deploys, and what it makes of the answers of bus and database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lattice.contracts.nouns import Health, Liveness, Membership, Phase
from lattice.errors import Temporary
from lattice.metrics.declared import nats, postgres
from lattice.metrics.declared import registry as declared
from lattice.metrics.readings import Reading
from lattice.postgres_vitals import PostgresVitals
from lattice.testing.store import MemoryStore
from services.registry.deploy_steps import steps_reached
from services.registry.measuring import Measuring, of_streams
from services.registry.tables import FactRow, NodeRow

NOW = datetime(2030, 1, 1, tzinfo=UTC)
UNKNOWN, HEALTHY, UNHEALTHY = Health.UNKNOWN, Health.HEALTHY, Health.UNHEALTHY
VITALS = PostgresVitals(
    size_bytes=1000, connections_limit=100, committed=7, rolled_back=1, deadlocks=0, waiting=1, active=3, idle=4, connections=9,
    pool_used=1, pool_idle=2,
)  # fmt: skip


@pytest.mark.parametrize(
    ("known", "reported", "steps"),
    [
        ((Phase.PENDING, UNKNOWN), (Phase.PULLING, UNKNOWN), []),
        ((Phase.PULLING, UNKNOWN), (Phase.STARTING, UNKNOWN), ["pulled"]),
        ((Phase.STARTING, UNKNOWN), (Phase.RUNNING, UNKNOWN), ["started"]),
        ((Phase.RUNNING, UNKNOWN), (Phase.RUNNING, HEALTHY), ["ready"]),
        ((Phase.PENDING, UNKNOWN), (Phase.RUNNING, HEALTHY), ["pulled", "started", "ready"]),
        ((Phase.RUNNING, UNHEALTHY), (Phase.RUNNING, HEALTHY), []),
        ((Phase.RUNNING, HEALTHY), (Phase.RUNNING, HEALTHY), []),
        ((Phase.PULLING, UNKNOWN), (Phase.FAILED, UNKNOWN), []),
    ],
)
def test_an_instance_takes_each_step_once(
    known: tuple[Phase, Health], reported: tuple[Phase, Health], steps: list[str]
) -> None:
    assert list(steps_reached(*known, *reported, restarts=0)) == steps
    assert list(steps_reached(*known, *reported, restarts=1)) == []


def stream(name: str, *consumers: dict[str, object]) -> dict[str, object]:
    return {"name": name, "state": {"messages": 5, "bytes": 50}, "consumer_detail": list(consumers)}


def test_of_streams_only_our_own_are_told_and_each_once() -> None:
    own = stream(
        "SCHED", {"name": "scheduler", "num_pending": 2, "num_ack_pending": 1}, {"name": "of-somebody"}
    )
    told = [
        {"account_details": [{"stream_detail": [own, stream("FOREIGN")]}]},
        {"account_details": [{"stream_detail": [own]}]},
        {},
    ]
    found = {(each.spec.name, *each.labels): each.values[0] for each in of_streams(told)}
    assert found == {
        (nats.STREAM_MESSAGES.name, "SCHED"): 5,
        (nats.STREAM_BYTES.name, "SCHED"): 50,
        (nats.CONSUMER_PENDING.name, "SCHED", "scheduler"): 2,
        (nats.CONSUMER_UNACKNOWLEDGED.name, "SCHED", "scheduler"): 1,
    }


def said(measuring: Measuring) -> dict[tuple[str, ...], float]:
    found: list[Reading] = [each for part in measuring._found.values() for each in part]
    return {(each.spec.name, *each.labels): each.values[0] for each in found}


class World:
    """A store, and a database and servers that may be away."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.away = False
        self.measuring = Measuring(
            self.store, lambda: NOW, database=self._vitals, servers=self._servers, streams=self._servers
        )

    async def _vitals(self) -> PostgresVitals:
        if self.away:
            raise Temporary("away")
        return VITALS

    async def _servers(self) -> list[dict[str, object]]:
        if self.away:
            raise Temporary("away")
        return [{"connections": 3, "mem": 10}, {"connections": 4, "mem": 10}]


def node(name: str, liveness: Liveness, *, cordoned: bool = False, draining: bool = False) -> NodeRow:
    return NodeRow(
        id=f"nd-{name}", name=name, membership=Membership.APPROVED, liveness=liveness, fingerprint=name, nkey=name, sealing_key=name,
        created_at=NOW, cordoned=cordoned, draining=draining,
    )  # fmt: skip


async def test_the_state_is_counted_and_the_outbox_aged() -> None:
    world = World()
    async with world.store.transaction() as tx:
        for row in (
            node("a", Liveness.READY), node("b", Liveness.READY, cordoned=True), node("c", Liveness.READY, cordoned=True, draining=True),
            node("d", Liveness.UNREACHABLE, draining=True),
        ):  # fmt: skip
            tx.add(row)
        for age_s in (5, 40):
            tx.add(FactRow(
                id=f"fa-{age_s}", project="default", entity="workload", verb="created", entity_id="wl-1", actor="a",
                created_at=NOW - timedelta(seconds=age_s),
            ))  # fmt: skip
    await world.measuring.look()
    found = said(world.measuring)
    states = {name[1]: count for name, count in found.items() if name[0] == declared.NODES.name and count}
    assert states == {"ready": 1, "cordoned": 1, "draining": 1, "unreachable": 1}
    assert (found[declared.OUTBOX_OLDEST.name,], found[declared.OUTBOX_ROWS.name, "fact"]) == (40, 2)
    assert (found[nats.UP.name,], found[nats.CONNECTIONS.name,], found[nats.MEMORY.name,]) == (2, 7, 20)
    connections = {name[1]: count for name, count in found.items() if name[0] == postgres.CONNECTIONS.name}
    assert connections == {"active": 2, "waiting": 1, "idle": 4, "other": 2}


async def test_of_what_is_away_nothing_old_is_told() -> None:
    world = World()
    await world.measuring.look()
    world.away = True
    await world.measuring.look()
    assert said(world.measuring) == {(postgres.UP.name,): 0}
