"""Revocation on a real nats-server and a real Postgres: links are cut in time, stay cut, and nobody else is touched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import nats
import pytest
from nats.aio.client import Client, RawCredentials

from lattice import identity, nkey
from lattice.bus_client import answered
from lattice.bus_link import Link
from lattice.bus_system import Connection, SystemBus, open_system_bus, read_connect
from lattice.errors import LatticeError, Temporary
from lattice.migrations import upgrade
from lattice.postgres import PostgresStore
from lattice.settings import BusSettings, DatabaseSettings
from lattice.testing import ManualClock, MemoryDatabase, MemoryStore
from services.registry.nodes import approve_node, remove_node, revoke_node
from services.registry.revocation import Doorkeeper, revocations_of
from services.registry.tables import MIGRATIONS, NodeRow
from tests.fixtures.machines import Authorities, Machine, NodeRegistry, command, make_node_registry
from tests.fixtures.nats import BusIdentity, NatsServer

DAY = timedelta(days=1)


async def until(holds: Callable[[], bool], *, within_s: float = 10) -> None:
    """Poll until it holds."""
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


def system_settings(server: NatsServer) -> BusSettings:
    who = server.system()
    return BusSettings(
        urls=[server.url],
        ca_file=server.ca_file,
        cert_file=who.certificate_file,
        key_file=who.key_file,
        creds_file=who.credentials_file,
        server_name="localhost",
    )


async def connect(server: NatsServer, who: BusIdentity) -> Client:
    async def ignore(_: Exception) -> None:
        """The server's complaint shows as a closed connection."""

    client = Client()
    await client.connect(
        server.url,
        user_credentials=RawCredentials(who.credentials),
        tls=who.tls,
        tls_handshake_first=True,
        allow_reconnect=False,
        connect_timeout=5,
        inbox_prefix=who.inbox_prefix,
        error_cb=ignore,
    )
    await answered(client, within_s=10)
    return client


async def refused(server: NatsServer, who: BusIdentity) -> bool:
    try:
        await (await connect(server, who)).close()
    except (nats.errors.Error, OSError):
        return True
    return False


@dataclass
class Platform:
    """A registry's node half on real parts, with its doorkeeper at the doors of a real bus."""

    server: NatsServer
    registry: NodeRegistry
    doors: SystemBus
    keeper: Doorkeeper
    clients: list[Client]

    async def member(self, name: str) -> tuple[str, BusIdentity]:
        """An approved node, with the ticket that it would have been given."""
        machine = Machine(name)
        node_id = (await self.registry.register(machine)).node_id
        await approve_node(self.registry.deps, command(node_id))
        return node_id, self.server.node(node_id, user=machine.user)

    async def connected(self, who: BusIdentity) -> Client:
        client = await connect(self.server, who)
        self.clients.append(client)
        return client


@asynccontextmanager
async def at_the_doors(
    server: NatsServer, registry: NodeRegistry
) -> AsyncIterator[tuple[SystemBus, Doorkeeper]]:
    tickets = server.authority
    async with open_system_bus(system_settings(server), account=tickets.account.public) as doors:
        keeper = Doorkeeper(registry.store, doors, tickets, now=lambda: datetime.now(UTC), ticket_life=DAY)
        doors.on_connected(keeper.link_is_new)
        await doors.watch(keeper.look_at)
        await until(lambda: doors.connected)
        yield doors, keeper


@pytest.fixture
async def platform(own_nats_server: NatsServer, postgres_url: str) -> AsyncIterator[Platform]:
    server = own_nats_server
    await upgrade(postgres_url, MIGRATIONS)
    store = PostgresStore(DatabaseSettings(url=postgres_url))
    registry = make_node_registry(
        Authorities(server.pki_authority, server.authority), store=store, clock=ManualClock(datetime.now(UTC))
    )
    async with at_the_doors(server, registry) as (doors, keeper):
        registry.deps = replace(registry.deps, cut_links=keeper.cut_links)
        made = Platform(server, registry, doors, keeper, [])
        yield made
        for client in made.clients:
            await client.close()
    await store.close()


def move_clock_to_now(platform: Platform) -> None:
    platform.registry.clock.jump((datetime.now(UTC) - platform.registry.clock.now()).total_seconds())


async def revoke(platform: Platform, node_id: str) -> None:
    move_clock_to_now(platform)
    await revoke_node(platform.registry.deps, command(node_id))


# --- the whole way -----------------------------------------------------------------------------------------


async def test_a_revoked_node_is_cut_at_once_and_refused_afterwards(platform: Platform) -> None:
    node_id, ticket = await platform.member("rack-1")
    _, other_ticket = await platform.member("rack-2")
    node, other = await platform.connected(ticket), await platform.connected(other_ticket)
    service = await platform.connected(platform.server.service("logs"))
    await revoke(platform, node_id)
    await until(lambda: node.is_closed, within_s=5)
    assert await refused(platform.server, ticket)
    await other.flush()
    await service.flush()
    assert other.is_connected
    assert service.is_connected


async def test_a_removed_member_is_cut_too(platform: Platform) -> None:
    node_id, ticket = await platform.member("rack-1")
    node = await platform.connected(ticket)
    move_clock_to_now(platform)
    await remove_node(platform.registry.deps, command(node_id))
    await until(lambda: node.is_closed, within_s=5)
    assert await refused(platform.server, ticket)


async def test_several_revocations_in_one_second_all_count(platform: Platform) -> None:
    members = [await platform.member(f"rack-{number}") for number in range(4)]
    clients = [await platform.connected(ticket) for _, ticket in members]
    await asyncio.gather(*(revoke(platform, node_id) for node_id, _ in members))
    await until(lambda: all(client.is_closed for client in clients), within_s=5)
    for _, ticket in members:
        assert await refused(platform.server, ticket)


async def test_a_machine_that_joins_again_with_its_key_gets_in(platform: Platform) -> None:
    machine = Machine("rack-1")
    node_id = (await platform.registry.register(machine)).node_id
    await approve_node(platform.registry.deps, command(node_id))
    await revoke(platform, node_id)
    await remove_node(platform.registry.deps, command(node_id))
    node_id = (await platform.registry.register(machine)).node_id
    await approve_node(platform.registry.deps, command(node_id))
    await until(lambda: datetime.now(UTC) > platform.registry.clock.now() + timedelta(seconds=1))
    back = await platform.connected(platform.server.node(node_id, user=machine.user))
    await platform.keeper.link_is_new()
    await back.flush()
    assert back.is_connected


async def test_a_decision_that_was_not_pushed_is_made_up_for(platform: Platform) -> None:
    """The process died between the commit and the push: the next look at Postgres pushes it."""
    node_id, ticket = await platform.member("rack-1")
    node = await platform.connected(ticket)
    move_clock_to_now(platform)
    await revoke_node(replace(platform.registry.deps, cut_links=_nothing), command(node_id))
    watch = asyncio.create_task(platform.keeper.run())
    await until(lambda: node.is_closed, within_s=5)
    watch.cancel()


async def test_a_server_that_forgot_is_told_again(platform: Platform) -> None:
    """It comes back without what it kept, and with the first account, which revokes nobody."""
    node_id, ticket = await platform.member("rack-1")
    await revoke(platform, node_id)
    platform.server.stop()
    for kept in (platform.server.config.folder / "accounts").glob("*.jwt"):
        kept.unlink()
    platform.server.start()
    await until(lambda: platform.doors.connected, within_s=20)
    async with asyncio.timeout(10):
        while not await refused(platform.server, ticket):
            await asyncio.sleep(0.05)


def _is_closed(client: Client) -> bool:
    return bool(client.is_closed)


async def test_a_connection_that_no_list_forbids_is_cut_if_it_is_no_members(platform: Platform) -> None:
    """A key that is unknown here, as after a restore from an older backup: no list names it, only the look at the door finds it."""
    machine = Machine("rack-1")
    node_id = (await platform.registry.register(machine)).node_id
    pending = platform.server.node(node_id, user=machine.user)
    for stranger in (platform.server.node("nd-unknown"), pending):
        with suppress(nats.errors.ConnectionClosedError):  # cut before its first word was answered
            connection = await platform.connected(stranger)
            await until(partial(_is_closed, connection), within_s=5)


async def test_while_the_bus_is_away_a_revocation_stands_and_follows_later(platform: Platform) -> None:
    node_id, ticket = await platform.member("rack-1")
    platform.server.stop()
    await until(lambda: not platform.doors.connected)
    await revoke(platform, node_id)
    platform.server.start()
    await until(lambda: platform.doors.connected, within_s=20)
    async with asyncio.timeout(10):
        while not await refused(platform.server, ticket):
            await asyncio.sleep(0.05)


# --- the doors ---------------------------------------------------------------------------------------------


async def test_an_account_that_makes_no_sense_is_refused(platform: Platform) -> None:
    with pytest.raises(LatticeError, match="refuses the account"):
        await platform.doors.push_account("nonsense")


async def test_connections_are_found_by_their_key_and_cut_once(platform: Platform) -> None:
    _, ticket = await platform.member("rack-1")
    first, second = await platform.connected(ticket), await platform.connected(ticket)
    found = await platform.doors.connections(ticket.user.public)
    assert len(found) == 2
    for connection in (*found, *found):  # one that has ended already is no error
        await platform.doors.kick(connection)
    await until(lambda: first.is_closed and second.is_closed)
    assert await platform.doors.connections(ticket.user.public) == []


async def test_without_a_link_everything_is_temporary(own_nats_server: NatsServer) -> None:
    doors = SystemBus(Link(system_settings(own_nats_server), identity="system", inbox="_INBOX_system"), "A")
    for work in (doors.push_account("x"), doors.connections("U"), doors.kick(Connection("N", 1, "U"))):
        with pytest.raises(Temporary):
            await work


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"client": 3}', b'{"client": {"id": 1}}'])
def test_an_event_that_cannot_be_read_is_passed_over(data: bytes) -> None:
    assert read_connect(data) is None


# --- the list ----------------------------------------------------------------------------------------------

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def revoked(user_key: str, at: datetime | None, membership: str = "revoked") -> NodeRow:
    return NodeRow(
        id=f"nd-{user_key}",
        name="n",
        membership=membership,
        liveness="unreachable",
        fingerprint="f",
        nkey=user_key,
        sealing_key="s",
        created_at=NOW,
        decided_at=at,
    )


def test_the_list_holds_revoked_keys_until_their_tickets_have_ended() -> None:
    rows = [
        revoked("A", NOW - timedelta(hours=1)),
        revoked("B", NOW - timedelta(hours=25)),
        revoked("C", NOW, membership="approved"),
        revoked("D", NOW - timedelta(hours=3)),
        revoked("D", NOW - timedelta(hours=2)),
    ]
    found = revocations_of(rows, now=NOW, lifetime=DAY)
    assert found == {"A": NOW - timedelta(hours=1), "D": NOW - timedelta(hours=2)}


class RecordingDoors:
    """Remembers what was asked of it; `broken` refuses everything."""

    def __init__(self) -> None:
        self.pushed: list[dict[str, Any]] = []
        self.kicked: list[Connection] = []
        self.broken = False

    async def push_account(self, jwt: str) -> None:
        if self.broken:
            raise Temporary("away")
        self.pushed.append(identity.decode(jwt))

    async def connections(self, user_key: str) -> list[Connection]:
        return []

    async def kick(self, connection: Connection) -> None:
        self.kicked.append(connection)


@pytest.fixture(scope="module")
def tickets() -> identity.NatsAuthority:
    return identity.new_authority(now=ManualClock().now())


async def test_the_list_is_pushed_when_it_changes_and_is_always_newer(
    tickets: identity.NatsAuthority,
) -> None:
    clock, doors, store = ManualClock(), RecordingDoors(), MemoryStore()
    keeper = Doorkeeper(store, doors, tickets, now=clock.now, ticket_life=DAY)
    user = nkey.new_key(nkey.USER).public
    for _ in range(3):
        await keeper.cut_links()
    assert [_revoked_in(pushed) for pushed in doors.pushed] == [set()]
    async with store.transaction() as tx:
        tx.add(revoked(user, clock.now()))
    doors.broken = True
    await keeper.cut_links()
    doors.broken = False
    for _ in range(3):
        await keeper.cut_links()
    clock.advance(25 * 3600)
    await keeper.cut_links()
    assert [_revoked_in(pushed) for pushed in doors.pushed] == [set(), {user}, set()]
    dates = [pushed["iat"] for pushed in doors.pushed]
    assert dates == sorted(set(dates))


async def test_while_the_database_is_away_only_known_revocations_are_cut(
    tickets: identity.NatsAuthority,
) -> None:
    clock, doors, database = ManualClock(), RecordingDoors(), MemoryDatabase()
    store, user = MemoryStore(database), nkey.new_key(nkey.USER).public
    keeper = Doorkeeper(store, doors, tickets, now=clock.now, ticket_life=DAY)
    async with store.transaction() as tx:
        tx.add(revoked(user, clock.now()))
    await keeper.cut_links()
    database.away = True
    issuer = tickets.node_signing.public
    await keeper.look_at(Connection("N", 1, user, issuer))
    await keeper.look_at(Connection("N", 2, "UOTHER", issuer))
    await keeper.look_at(Connection("N", 3, "USERVICE", tickets.service_signing.public))
    assert [connection.client_id for connection in doors.kicked] == [1]


def _revoked_in(account: dict[str, Any]) -> set[str]:
    return set(account["nats"].get("revocations", {}))


async def _nothing() -> None:
    """The push that never happened."""
