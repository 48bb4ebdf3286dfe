"""What G6 and G15 measure with: a registry and its scheduler in this process, on a real Postgres that flushes to the disk, with a crowd of nodes.

The nodes are rows, and agents are simulated by what they would send.  The bus is in memory: it takes part in both sizes alike.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from lattice import pki
from lattice.contracts.catalogue import COMMIT_PLACEMENTS, SCHEDULING_SNAPSHOT
from lattice.contracts.messages import PlacementRequest, SchedulableNode, TakeTerm
from lattice.contracts.nouns import Amounts, DesiredState, Inventory
from lattice.envelope import create_master_key
from lattice.ids import new_id
from lattice.migrations import upgrade
from lattice.postgres import PostgresStore
from lattice.settings import DatabaseSettings
from lattice.testing import MemoryBus
from services.registry import scheduling
from services.registry.accept import TlsIssuer
from services.registry.documents import Documents
from services.registry.first_start import ensure_cluster
from services.registry.image_pinning import Answer, RegistryAnswer
from services.registry.image_registry import ImageRegistries
from services.registry.link_publishing import LinkPublisher
from services.registry.relay import Relay
from services.registry.routes import RoutePublisher
from services.registry.tables import MIGRATIONS, InstanceRow, NodeRow, RevisionRow, WorkloadRow
from services.registry.template import load_templates
from services.registry.vault import Vault
from services.registry.workload_deps import WorkloadDeps
from services.scheduler.rounds import Rounds
from tests.fixtures.postgres import PostgresServer, make_postgres_server

AT = datetime(2030, 1, 1, tzinfo=UTC)
IMAGE = "app@sha256:" + "a" * 64
ZONES = ("home", "office", "attic", "shed")
CHUNK = 2_000
CPU_MILLIS, MEMORY_BYTES = 100, 2**26
INVENTORY = Inventory(
    capacity=Amounts(cpu_millis=64_000, memory_bytes=256 * 2**30, disk_bytes=2 * 2**40), arch="amd64"
).model_dump(mode="json")
_numbers = itertools.count()


class _Registries(ImageRegistries):
    """Every image is there."""

    async def digest(self, reference: Any, login: str | None, *, monotonic_s: float) -> RegistryAnswer:
        return RegistryAnswer(Answer.FOUND, digest="sha256:" + "a" * 64)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that flushes to the disk, as the platform's does."""
    with tempfile.TemporaryDirectory(prefix="lattice-bench-") as folder:
        server = make_postgres_server(Path(folder) / "postgres")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@dataclass
class Crowd:
    """One platform with so many nodes; `nodes` is what its scheduler has seen of them."""

    deps: WorkloadDeps
    bus: MemoryBus
    relay: Relay
    rounds: Rounds
    nodes: dict[str, SchedulableNode] = field(default_factory=dict)
    waiting: list[PlacementRequest] = field(default_factory=list)

    async def look(self) -> None:
        """Look as each round of the scheduler does: at the nodes, all of them the first time, and at what wants a place."""
        snapshot = await self.rounds.sight.look(None)
        self.nodes = self.rounds.sight.nodes
        self.waiting = sorted(snapshot.wanted, key=lambda request: request.instance_id)

    async def add_nodes(self, count: int) -> None:
        """Ready nodes in four zones, a tenth of them cordoned."""
        for chunk in _chunks([_node(number) for number in range(count)]):
            await self._add(chunk)

    async def add_workloads(self, count: int, *, replicas: int = 1, placed: bool = False) -> None:
        """Accepted workloads; `placed` spreads them over the nodes as if they had run for long."""
        homes = itertools.cycle(sorted(self.nodes)) if placed else None
        rows = [_workload(homes, replicas=replicas) for _ in range(count)]
        for chunk in _chunks(rows):
            await self._add([row for workload in chunk for row in workload])

    async def _add(self, rows: list[Any]) -> None:
        async with self.deps.store.transaction() as tx:
            for row in rows:
                tx.add(row)


@asynccontextmanager
async def crowd(url: str, *, nodes: int) -> AsyncIterator[Crowd]:
    """A platform with ready nodes and a scheduler that leads."""
    await upgrade(url, MIGRATIONS)
    store, bus = PostgresStore(DatabaseSettings(url=url)), MemoryBus()
    with tempfile.TemporaryDirectory() as folder:
        vault = Vault(create_master_key(Path(folder)))
    deps = WorkloadDeps(
        store=store,
        now=lambda: datetime.now(UTC),
        new_id=new_id,
        templates=load_templates(),
        registries=_Registries(),
        vault=vault,
        tls=TlsIssuer(pki.create_authority(name="bench", now=datetime.now(UTC)).authority),
    )
    await ensure_cluster(deps, "c1234567")
    term = await scheduling.take_term(deps, TakeTerm(leader="bench"))
    await bus.serve(SCHEDULING_SNAPSHOT, partial(scheduling.scheduling_snapshot, deps))
    await bus.serve(COMMIT_PLACEMENTS, partial(scheduling.commit_placements, deps))
    relay = Relay(deps, bus, Documents(deps, vault, bus), RoutePublisher(deps, bus), LinkPublisher(deps, bus))
    found = Crowd(deps, bus, relay, Rounds(bus, term.term))
    try:
        await found.add_nodes(nodes)
        await found.look()
        yield found
    finally:
        await store.close()


def next_name() -> str:
    """A workload's name that nobody has yet."""
    return f"w{next(_numbers)}"


def server_pids(server: PostgresServer) -> tuple[int, ...]:
    """The database's process; those that answer connections are its children."""
    assert server.process is not None
    return (server.process.pid,)


def _chunks(rows: list[Any]) -> Iterator[list[Any]]:
    for begin in range(0, len(rows), CHUNK):
        yield rows[begin : begin + CHUNK]


def _node(number: int) -> NodeRow:
    return NodeRow(
        id=f"nd-{number:06}",
        name=f"n{number}",
        membership="approved",
        liveness="ready",
        cordoned=number % 10 == 9,
        labels={"zone": ZONES[number % 4]},
        inventory=INVENTORY,
        fingerprint=f"f{number}",
        nkey=f"k{number}",
        sealing_key="",
        boot_id="b",
        created_at=AT,
    )


def _workload(homes: Iterator[str] | None, *, replicas: int) -> list[Any]:
    number = next(_numbers)
    workload_id, name = f"wl-{number:09}", f"w{number}"
    placement = {"constraints": [f"label.zone != {ZONES[number % 4]}"]}
    spec = {"name": name, "image": IMAGE, "replicas": replicas, "placement": placement}
    run = {"image": IMAGE, "cpu_millis": CPU_MILLIS, "memory_bytes": MEMORY_BYTES, "pids": 64}
    instances = [
        InstanceRow(
            id=f"in-{number:09}-{slot}",
            workload_id=workload_id,
            workload_name=name,
            project="default",
            slot=slot,
            epoch=1,
            revision=1,
            desired=DesiredState.RUNNING,
            node_id=next(homes) if homes else None,
            phase="running" if homes else "pending",
            cpu_millis=CPU_MILLIS,
            memory_bytes=MEMORY_BYTES,
            document_bytes=500,
            created_at=AT,
        )
        for slot in range(replicas)
    ]
    return [
        WorkloadRow(
            id=workload_id, project="default", name=name, desired=DesiredState.RUNNING, replicas=replicas,
            settled=homes is not None, created_at=AT, updated_at=AT,
        ),
        RevisionRow(
            id=f"{workload_id}-1", workload_id=workload_id, number=1, spec=spec, run=run, image=IMAGE, created_at=AT,
            created_by="user:bench",
        ),
        *instances,
    ]  # fmt: skip
