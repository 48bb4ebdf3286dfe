"""What the platform's state, its database and its bus look like, asked every 15 s by each registry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from lattice.contracts.nouns import DesiredState, Liveness, Membership, NodeState, Phase
from lattice.contracts.streams import CONSUMERS, STREAMS
from lattice.errors import Temporary
from lattice.metrics import instruments
from lattice.metrics.declared import nats, postgres
from lattice.metrics.declared import registry as declared
from lattice.metrics.readings import Reading, reading
from lattice.postgres_vitals import PostgresVitals
from lattice.storage import Store, Transaction
from services.registry.tables import FactRow, InstanceRow, NodeRow, OperationRow, WakeUpRow, WorkloadRow

EVERY_S = 15.0

Json = dict[str, Any]
AskServers = Callable[[], Awaitable[list[Json]]]


class Measuring:
    """The loop, and what it found last."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], datetime],
        *,
        database: Callable[[], Awaitable[PostgresVitals]],
        servers: AskServers,
        streams: AskServers,
    ) -> None:
        self._store, self._now = store, now
        self._database, self._servers, self._streams = database, servers, streams
        self._found: dict[str, list[Reading]] = {}

    async def run(self) -> None:
        """Ask for ever; of what is away nothing is told."""
        instruments.measure("platform", lambda: [each for found in self._found.values() for each in found])
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Ask once."""
        self._found = {"database": [reading(postgres.UP, 0)]}
        with suppress(Temporary):
            self._found["database"] = list(of_database(await self._database()))
            self._found["state"] = await self._state()
        with suppress(Temporary):
            self._found["servers"] = list(of_servers(await self._servers()))
            self._found["streams"] = list(of_streams(await self._streams()))

    async def _state(self) -> list[Reading]:
        async with self._store.transaction() as tx:
            return [*await _outbox(tx, self._now()), *await _nodes(tx), *await _work(tx)]


async def _outbox(tx: Transaction, now: datetime) -> list[Reading]:
    oldest = await tx.find(FactRow, published_at=None, order_by=("created_at", "id"), limit=1)
    waits_s = max(0.0, (now - oldest[0].created_at).total_seconds()) if oldest else 0.0
    return [
        reading(declared.OUTBOX_OLDEST, waits_s),
        reading(declared.OUTBOX_ROWS, await tx.count(FactRow, published_at=None), "fact"),
        reading(declared.OUTBOX_ROWS, await tx.count(WakeUpRow), "wake_up"),
        reading(declared.OUTBOX_ROWS, await tx.count(NodeRow, document_dirty=True), "document"),
    ]


async def _nodes(tx: Transaction) -> list[Reading]:
    """As `states.node_state` has them, by counts alone: there may be ten thousand."""
    counts: dict[NodeState, int] = {}
    for membership in (Membership.PENDING, Membership.REJECTED, Membership.REVOKED):
        counts[NodeState(membership.value)] = await tx.count(NodeRow, membership=membership, removed_at=None)
    members: dict[str, Any] = {"membership": Membership.APPROVED, "removed_at": None}
    for liveness in (Liveness.JOINING, Liveness.SUSPECT, Liveness.UNREACHABLE):
        counts[NodeState(liveness.value)] = await tx.count(NodeRow, liveness=liveness, **members)
    ready: dict[str, Any] = {"liveness": Liveness.READY, **members}
    counts[NodeState.DRAINING] = await tx.count(NodeRow, draining=True, **ready)
    counts[NodeState.CORDONED] = await tx.count(NodeRow, draining=False, cordoned=True, **ready)
    counts[NodeState.READY] = await tx.count(NodeRow, draining=False, cordoned=False, **ready)
    return [reading(declared.NODES, count, state) for state, count in counts.items()]


async def _work(tx: Transaction) -> list[Reading]:
    found = [
        reading(declared.WORKLOADS, await tx.count(WorkloadRow, desired=desired, removed_at=None), desired)
        for desired in DesiredState
    ]
    found += [
        reading(declared.INSTANCES, await tx.count(InstanceRow, phase=phase, gone_at=None), phase)
        for phase in Phase
    ]
    unsettled = await tx.count(WorkloadRow, desired=DesiredState.RUNNING, settled=False, removed_at=None)
    operations = await tx.count(OperationRow, ended_at=None)
    return [*found, reading(declared.UNSETTLED, unsettled), reading(declared.OPEN_OPERATIONS, operations)]


def of_database(vitals: PostgresVitals) -> Iterator[Reading]:
    """What is told of the database."""
    others = vitals.connections - vitals.active - vitals.idle
    yield reading(postgres.UP, 1)
    yield reading(postgres.SIZE, vitals.size_bytes)
    yield reading(postgres.MOST_CONNECTIONS, vitals.connections_limit)
    yield reading(postgres.CONNECTIONS, vitals.active - vitals.waiting, "active")
    yield reading(postgres.CONNECTIONS, vitals.waiting, "waiting")
    yield reading(postgres.CONNECTIONS, vitals.idle, "idle")
    yield reading(postgres.CONNECTIONS, others, "other")
    yield reading(postgres.TRANSACTIONS, vitals.committed, "committed")
    yield reading(postgres.TRANSACTIONS, vitals.rolled_back, "rolled_back")
    yield reading(postgres.DEADLOCKS, vitals.deadlocks)
    yield reading(postgres.POOL, vitals.pool_used, "used")
    yield reading(postgres.POOL, vitals.pool_idle, "idle")


_OF_SERVERS = (
    (nats.CONNECTIONS, "connections"),
    (nats.SLOW_CONSUMERS, "slow_consumers"),
    (nats.IN_MESSAGES, "in_msgs"),
    (nats.OUT_MESSAGES, "out_msgs"),
    (nats.IN_BYTES, "in_bytes"),
    (nats.OUT_BYTES, "out_bytes"),
    (nats.MEMORY, "mem"),
)


def of_servers(vitals: list[Json]) -> Iterator[Reading]:
    """What is told of the NATS servers, all together."""
    yield reading(nats.UP, len(vitals))
    for spec, name in _OF_SERVERS:
        yield reading(spec, sum(each.get(name, 0) for each in vitals))


_OWN_STREAMS = frozenset(each.name for each in STREAMS)
_OWN_CONSUMERS = frozenset((each.stream, each.durable) for each in CONSUMERS)


def of_streams(told: list[Json]) -> Iterator[Reading]:
    """What is told of the platform's own streams and durable consumers; each once, also where several servers have a copy of it."""
    streams = {each["name"]: each for each in _streams(told) if each.get("name") in _OWN_STREAMS}
    for name, stream in streams.items():
        state = stream.get("state", {})
        yield reading(nats.STREAM_MESSAGES, state.get("messages", 0), name)
        yield reading(nats.STREAM_BYTES, state.get("bytes", 0), name)
        for consumer in stream.get("consumer_detail") or ():
            if (name, consumer.get("name")) in _OWN_CONSUMERS:
                labels = (name, consumer["name"])
                yield reading(nats.CONSUMER_PENDING, consumer.get("num_pending", 0), *labels)
                yield reading(nats.CONSUMER_UNACKNOWLEDGED, consumer.get("num_ack_pending", 0), *labels)


def _streams(told: Iterable[Json]) -> Iterator[Json]:
    for server in told:
        for account in server.get("account_details") or ():
            yield from account.get("stream_detail") or ()
