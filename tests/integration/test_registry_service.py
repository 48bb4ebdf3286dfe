"""The registry on a real nats-server and a real Postgres: what it promises survives the loss of either's short-lived state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lattice import identity, pki
from lattice.background import Background
from lattice.bus import NatsBus
from lattice.contracts.catalogue import (
    COMMIT_PLACEMENTS,
    CREATE_WORKLOAD,
    DESIRED_DOCUMENT,
    FACT,
    GET_OPERATION,
    GET_WORKLOAD,
    LIST_FACTS,
    SCHEDULING_SNAPSHOT,
    STATUS,
)
from lattice.contracts.messages import (
    Caller,
    CommitPlacements,
    CreateWorkload,
    DesiredDocument,
    Fact,
    GetByName,
    ListFacts,
    ObservedDocument,
    Placement,
    SchedulingQuery,
)
from lattice.contracts.nouns import Amounts, Health, Inventory, ObservedContainer, OperationState, Phase
from lattice.contracts.permissions import Permissions, service_permissions
from lattice.contracts.spec import WorkloadSpec
from lattice.envelope import create_master_key
from lattice.errors import Temporary
from lattice.messaging import Received
from lattice.migrations import upgrade
from lattice.postgres import PostgresStore
from lattice.sealing import new_sealing_key
from lattice.settings import BusSettings, DatabaseSettings
from services.registry.accept import TlsIssuer
from services.registry.app import Keys, Registry
from services.registry.image_pinning import Answer, RegistryAnswer
from services.registry.image_registry import ImageRegistries
from services.registry.issuing import Issuer
from services.registry.tables import MIGRATIONS, FactRow, NodeRow
from services.registry.vault import Vault
from tests.fixtures.nats import NatsServer

NODE = "nd-one"
CALLER = Caller(actor="user:ann")
CAPACITY = Inventory(capacity=Amounts(cpu_millis=10**6, memory_bytes=2**50, disk_bytes=2**50))


class AlwaysThere(ImageRegistries):
    """Every image has a digest."""

    async def digest(self, reference: Any, login: str | None, *, monotonic_s: float) -> RegistryAnswer:
        return RegistryAnswer(Answer.FOUND, digest="sha256:" + "a" * 64)


def bus_settings(server: NatsServer, name: str, permissions: Permissions) -> BusSettings:
    user = server.service(name, permissions)
    return BusSettings(
        urls=[server.url],
        ca_file=server.ca_file,
        cert_file=user.certificate_file,
        key_file=user.key_file,
        creds_file=user.credentials_file,
        server_name="localhost",
    )


@dataclass
class Running:
    """A registry that answers, and a caller that speaks to it as gateway, scheduler and node do."""

    registry: Registry
    store: PostgresStore
    asker: NatsBus
    server: NatsServer

    async def create(self, name: str, **spec: Any) -> str:
        request = CreateWorkload(caller=CALLER, spec=WorkloadSpec(name=name, image="redis:7", **spec))
        return (await self.asker.ask(CREATE_WORKLOAD, request)).operation.id

    async def place_all(self) -> None:
        snapshot = await self.asker.ask(SCHEDULING_SNAPSHOT, SchedulingQuery())
        placements = tuple(
            Placement(
                instance_id=wanted.instance_id,
                workload_id=wanted.workload_id,
                workload_generation=wanted.workload_generation,
                node_id=NODE,
                placement_version=snapshot.nodes[0].placement_version,
                score=1,
                reason="only one",
            )
            for wanted in snapshot.wanted
        )
        reply = await self.asker.ask(
            COMMIT_PLACEMENTS, CommitPlacements(term=snapshot.term, placements=placements)
        )
        assert reply.refused == ()

    async def document(self) -> DesiredDocument | None:
        received = await self.registry.bus.last(DESIRED_DOCUMENT, node_id=NODE)
        return received.message if received else None


async def until(wanted: Callable[[], Awaitable[Any]], *, within_s: float = 10) -> Any:
    """Poll until the answer is true, and return it."""
    async with asyncio.timeout(within_s):
        while not (answer := await wanted()):
            await asyncio.sleep(0.02)
    return answer


def everything() -> Permissions:
    """The union of what gateway and scheduler may do, and what the node's reports need."""
    parts = [service_permissions(name) for name in ("gateway", "scheduler")]
    publish = tuple(subject for part in parts for subject in part.publish)
    subscribe = tuple(subject for part in parts for subject in part.subscribe)
    return Permissions((*publish, f"lattice.node.{NODE}.status"), subscribe)


@asynccontextmanager
async def running(server: NatsServer, url: str, folder: Path) -> AsyncIterator[Running]:
    now = datetime.now(UTC)
    authority = pki.create_authority(name="test", now=now).authority
    keys = Keys(
        issuer=Issuer(authority, identity.new_authority(now=now), "c1234567", (server.url,), "localhost"),
        vault=Vault(create_master_key(folder)),
        tls=TlsIssuer(authority),
    )
    await upgrade(url, MIGRATIONS)
    store = PostgresStore(DatabaseSettings(url=url))
    mine = bus_settings(server, "registry", service_permissions("registry"))
    others = bus_settings(server, "gateway", everything())
    async with (
        NatsBus(mine, identity="registry") as bus,
        NatsBus(others, identity="gateway") as asker,
        Background() as background,
    ):
        registry = Registry(store=store, bus=bus, keys=keys, registries=AlwaysThere())
        await registry.start(background)
        await until(lambda: _links_up(bus, asker))
        yield Running(registry, store, asker, server)
    await store.close()


async def _links_up(*buses: NatsBus) -> bool:
    return all(bus.connected for bus in buses)


async def _add_node(store: PostgresStore) -> None:
    async with store.transaction() as tx:
        tx.add(
            NodeRow(
                id=NODE,
                name="one",
                membership="approved",
                liveness="ready",
                inventory=CAPACITY.model_dump(mode="json"),
                fingerprint="f",
                nkey="n",
                sealing_key=new_sealing_key().public,
                created_at=datetime.now(UTC),
            )
        )


@pytest.fixture
async def registry(own_nats_server: NatsServer, postgres_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(own_nats_server, postgres_url, tmp_path) as found:
        await _add_node(found.store)
        yield found


async def test_a_deploy_reaches_its_node_and_its_end(registry: Running) -> None:
    operation = await registry.create("web")
    await registry.place_all()
    document = await until(registry.document)
    instance = document.instances[0]
    report = ObservedDocument(
        node_id=NODE,
        boot_id="b",
        session=1,
        counter=1,
        era=1,
        generation=document.generation,
        complete=True,
        containers=(
            ObservedContainer(
                key=instance.key, instance_id=instance.instance_id, phase=Phase.RUNNING, health=Health.HEALTHY
            ),
        ),
        inventory=CAPACITY,
    )
    await registry.asker.append(STATUS, report, msg_id="r1", node_id=NODE)

    async def ended() -> bool:
        view = await registry.asker.ask(GET_OPERATION, GetByName(ref=operation))
        return bool(view.state is OperationState.SUCCEEDED)

    await until(ended)


async def test_an_erased_bus_comes_back_from_postgres(registry: Running) -> None:
    await registry.create("web")
    await registry.place_all()
    before = await until(registry.document)
    registry.server.stop()
    registry.server.erase_store()
    registry.server.start()
    await until(lambda: _links_up(registry.asker), within_s=20)

    async def is_back() -> bool:
        try:
            found: DesiredDocument | None = await registry.document()
            return bool(found == before) and registry.asker.connected
        except Temporary:
            return False

    await until(is_back, within_s=20)
    await registry.create("after")
    await registry.place_all()

    async def both() -> bool:
        document = await registry.document()
        return document is not None and len(document.instances) == 2

    await until(both)


async def test_facts_committed_out_of_order_arrive_once_each(registry: Running) -> None:
    heard: list[int] = []

    async def hear(received: Received[Fact]) -> None:
        heard.append(received.message.seq)

    await registry.asker.subscribe(FACT, hear)
    await asyncio.sleep(0.2)

    def fact(number: int) -> FactRow:
        return FactRow(
            id=f"fa-{number}",
            project="default",
            entity="test",
            verb="happened",
            entity_id=str(number),
            actor="t",
            created_at=datetime.now(UTC),
        )

    store = registry.store
    async with store.transaction() as late:
        late.add(fact(1))
        await late.flush()
        async with store.transaction() as early:
            early.add(fact(2))
        await registry.registry._wake()

        async def second_is_out() -> bool:
            page = await registry.asker.ask(LIST_FACTS, ListFacts(entity="test"))
            return [f.id for f in page.facts] == ["fa-2"]

        await until(second_is_out)
        between = (await registry.asker.ask(LIST_FACTS, ListFacts())).head
    await registry.registry._wake()

    async def both_are_out() -> bool:
        page = await registry.asker.ask(LIST_FACTS, ListFacts(entity="test"))
        return [f.id for f in page.facts] == ["fa-2", "fa-1"]

    await until(both_are_out)
    resumed = await registry.asker.ask(LIST_FACTS, ListFacts(after=between, entity="test"))
    assert [f.id for f in resumed.facts] == ["fa-1"]
    await until(lambda: _heard(heard, 2))
    assert sorted(heard) == sorted(set(heard))


async def _heard(heard: list[int], count: int) -> bool:
    return len(heard) >= count


@pytest.mark.soak
async def test_what_was_posted_is_there_to_be_read(registry: Running, full_size: bool) -> None:
    for number in range(1000 if full_size else 100):
        await registry.create(f"w{number}")
        view = await registry.asker.ask(GET_WORKLOAD, GetByName(ref=f"w{number}"))
        assert view.name == f"w{number}"


async def test_many_changes_while_a_node_is_away_are_one_document(registry: Running) -> None:
    for number in range(50):
        await registry.create(f"w{number}")
        await registry.place_all()

    async def all_there() -> bool:
        document = await registry.document()
        return document is not None and len(document.instances) == 50

    await until(all_there)
