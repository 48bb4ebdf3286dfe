"""Enrolment on a real Postgres and a real nats-server: what races cannot break, and that credentials really open the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lattice import identity, pki_files
from lattice.bus import NatsBus
from lattice.contracts.catalogue import HEARTBEAT, STATUS
from lattice.contracts.messages import GetByName, Heartbeat, ListNodes, NodeCredentials, ObservedDocument
from lattice.contracts.nouns import Amounts, NodeState
from lattice.contracts.streams import CONSUMERS, OBSERVED_BY_REGISTRY, STREAMS
from lattice.errors import Conflict, LatticeError, Unauthenticated
from lattice.messaging import Received
from lattice.migrations import upgrade
from lattice.postgres import PostgresStore
from lattice.settings import BusSettings, DatabaseSettings
from lattice.testing import ManualClock
from services.registry.change import SYSTEM
from services.registry.enrolment import get_enrolment, register_node
from services.registry.judging import Judge, Pace
from services.registry.nodes import approve_node, cordon_node, get_node, list_nodes, uncordon_node
from services.registry.observed_order import apply_node_report
from services.registry.presence import Presence
from services.registry.tables import MIGRATIONS, FactRow, JoinTokenRow, NodeRow
from tests.fixtures.machines import INVENTORY, Authorities, Machine, NodeRegistry, command, make_node_registry
from tests.fixtures.nats import NatsServer


@pytest.fixture
async def registry(own_nats_server: NatsServer, postgres_url: str) -> AsyncIterator[NodeRegistry]:
    server = own_nats_server
    await upgrade(postgres_url, MIGRATIONS)
    store = PostgresStore(DatabaseSettings(url=postgres_url))
    yield make_node_registry(
        Authorities(server.pki_authority, server.authority),
        store=store,
        clock=ManualClock(datetime.now(UTC)),
        nats_urls=(server.url,),
    )
    await store.close()


async def outcomes(*work: object) -> tuple[list[object], list[BaseException]]:
    """What came of work done at the same time: answers and errors."""
    done = await asyncio.gather(*work, return_exceptions=True)  # type: ignore[call-overload]
    errors = [one for one in done if isinstance(one, BaseException)]
    return [one for one in done if not isinstance(one, BaseException)], errors


# --- races -------------------------------------------------------------------------------------------------


async def test_a_token_used_by_many_machines_at_once_admits_one(registry: NodeRegistry) -> None:
    token = await registry.token()
    machines = [Machine(f"rack-{number}") for number in range(6)]
    answers, errors = await outcomes(*(register_node(registry.deps, m.asks(token)) for m in machines))
    assert (len(answers), len(errors)) == (1, 5)
    assert all(isinstance(error, Unauthenticated) for error in errors)
    async with registry.store.transaction() as tx:
        assert await tx.count(NodeRow) == 1


async def test_many_machines_of_one_name_at_once_become_one_node(registry: NodeRegistry) -> None:
    asks = [Machine("rack-1").asks(await registry.token()) for _ in range(6)]
    answers, errors = await outcomes(*(register_node(registry.deps, one) for one in asks))
    assert (len(answers), len(errors)) == (1, 5)
    assert all(isinstance(error, Conflict) and "rack-1" in error.detail for error in errors)
    async with registry.store.transaction() as tx:
        used = [row for row in await tx.find(JoinTokenRow) if row.used_at is not None]
    assert len(used) == 1  # the others may be used again


async def test_commands_at_the_same_time_are_each_done_or_refused(registry: NodeRegistry) -> None:
    machine = Machine()
    node_id = (await registry.register(machine)).node_id
    await approve_node(registry.deps, command(node_id))
    work = [act(registry.deps, command(node_id)) for act in (cordon_node, uncordon_node) * 4]
    _, errors = await outcomes(*work)
    assert all(isinstance(error, LatticeError) for error in errors)
    async with registry.store.transaction() as tx:
        facts = [row for row in await tx.find(FactRow) if row.verb in ("cordoned", "uncordoned")]
        row = await tx.get(NodeRow, node_id)
    assert row is not None
    assert row.placement_version == 2 + len(facts)


async def test_lists_and_states_are_found_by_the_database(registry: NodeRegistry) -> None:
    for number in range(3):
        await registry.register(Machine(f"rack-{number}"))
    await approve_node(registry.deps, command("rack-1"))
    assert [v.name for v in (await list_nodes(registry.deps, ListNodes(state="pending"))).items] == [
        "rack-2",
        "rack-0",
    ]
    assert [v.name for v in (await list_nodes(registry.deps, ListNodes(state="joining"))).items] == ["rack-1"]


# --- from a token to a ready node --------------------------------------------------------------------------


def keep(folder: Path, machine: Machine, credentials: NodeCredentials) -> BusSettings:
    """A node's credentials as its agent keeps and uses them."""
    pki_files.save_chain(folder / "ca.pem", credentials.ca_pem.encode())
    pki_files.save_chain(folder / "node.pem", credentials.certificate_pem.encode())
    pki_files.save_key(folder / "node.key", machine.key)
    (folder / "node.creds").write_text(identity.credentials(credentials.jwt, machine.user))
    return BusSettings(
        urls=list(credentials.nats_urls),
        ca_file=folder / "ca.pem",
        cert_file=folder / "node.pem",
        key_file=folder / "node.key",
        creds_file=folder / "node.creds",
        server_name="localhost",
    )


def registry_bus(server: NatsServer) -> NatsBus:
    who = server.service("registry")
    settings = BusSettings(
        urls=[server.url],
        ca_file=server.ca_file,
        cert_file=who.certificate_file,
        key_file=who.key_file,
        creds_file=who.credentials_file,
        server_name="localhost",
    )
    return NatsBus(settings, identity="registry")


async def until(holds: Callable[[], bool], *, within_s: float = 10) -> None:
    """Poll until it holds."""
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


async def state_of(registry: NodeRegistry, node_id: str) -> NodeState:
    return (await get_node(registry.deps, GetByName(ref=node_id))).state


async def test_a_machine_joins_reports_and_is_ready(
    registry: NodeRegistry, own_nats_server: NatsServer, tmp_path: Path
) -> None:
    deps, store = registry.deps.deps, registry.store
    presence = Presence(registry.clock.now)

    async def fold(received: Received[ObservedDocument]) -> None:
        async with deps.change(SYSTEM, action="node.report") as change:
            node = await change.tx.get(NodeRow, received.tokens["node_id"], lock=True)
            assert node is not None
            apply_node_report(change, node, received.message)

    machine = Machine()
    node_id = (await registry.register(machine)).node_id
    await approve_node(registry.deps, command("rack-1"))
    enrolment = await get_enrolment(registry.deps, machine.looks(node_id, registry.clock.now()))
    assert enrolment.credentials is not None
    kept = keep(tmp_path, machine, enrolment.credentials)
    async with registry_bus(own_nats_server) as bus, NatsBus(kept, identity=node_id) as node:
        judge = Judge(
            deps,
            presence,
            monotonic_s=registry.clock.monotonic_s,
            is_connected=lambda: bus.connected,
            pace=Pace(write_every_s=0),
        )
        await bus.subscribe(HEARTBEAT, presence.hear)
        await until(lambda: bus.connected and node.connected)
        await bus.ensure_topology(STREAMS, CONSUMERS)
        await bus.consume(OBSERVED_BY_REGISTRY, STATUS, fold)
        beat = Heartbeat(
            node_id=node_id, boot_id="b", session=1, agent_version="0.1.0", usage=Amounts(cpu_millis=300)
        )
        await node.publish(HEARTBEAT, beat, node_id=node_id)
        await until(lambda: node_id in presence.known)
        await judge.tick()
        view = await get_node(registry.deps, GetByName(ref="rack-1"))
        assert (view.state, view.usage.cpu_millis) == (NodeState.JOINING, 300)
        document = ObservedDocument(
            node_id=node_id,
            boot_id="b",
            session=1,
            counter=0,
            era=1,
            generation=0,
            complete=True,
            inventory=INVENTORY,
        )
        await node.append(STATUS, document, msg_id=f"{node_id}-b-0", node_id=node_id)
        async with asyncio.timeout(10):
            while await state_of(registry, node_id) is not NodeState.READY:
                await asyncio.sleep(0.02)
    async with store.transaction() as tx:
        said = [row.verb for row in await tx.find(FactRow, entity_id=node_id, order_by=("created_at", "id"))]
    assert said == ["registered", "approved", "credentials_issued", "ready"]
