"""Credentials that live for seconds, on a real nats-server: what ends at their expiry, and how a node comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from nats.aio.client import Client, RawCredentials
from nats.errors import Error as NatsError

from lattice import identity, pki, pki_files
from lattice.contracts.messages import Enrolment
from lattice.errors import Forbidden
from lattice.migrations import upgrade
from lattice.postgres import PostgresStore
from lattice.settings import DatabaseSettings
from lattice.testing import ManualClock
from services.registry.enrolment import get_enrolment, renew_node
from services.registry.node_deps import NodeSettings
from services.registry.nodes import approve_node, revoke_node
from services.registry.tables import MIGRATIONS
from tests.fixtures.machines import Authorities, Machine, NodeRegistry, command, make_node_registry
from tests.fixtures.nats import NatsServer

TTL_S = 3.0


class Agent:
    """The part of an agent that keeps credentials, renews them by its own key and connects with them."""

    def __init__(self, registry: NodeRegistry, machine: Machine, node_id: str, folder: Path) -> None:
        self.registry, self.machine, self.node_id, self.folder = registry, machine, node_id, folder
        self.credentials = ""
        self.expires_at = registry.clock.now()

    async def fetch(self) -> None:
        self._keep(await get_enrolment(self.registry.deps, self.machine.looks(self.node_id, self._now())))

    async def renew(self) -> None:
        """With a new certificate key each time."""
        self.machine.key = pki.new_private_key()
        self._keep(await renew_node(self.registry.deps, self.machine.renews(self.node_id, self._now())))

    async def connect(self) -> Client:
        client = Client()
        await client.connect(
            self.registry.deps.issuer.nats_urls[0],
            user_credentials=RawCredentials(self.credentials),
            tls=pki_files.client_context(
                self.folder / "ca.pem",
                certificate_file=self.folder / "node.pem",
                key_file=self.folder / "node.key",
            ),
            tls_hostname="localhost",
            tls_handshake_first=True,
            allow_reconnect=False,
            inbox_prefix=f"_INBOX_{self.node_id}",
            error_cb=_ignore,
        )
        await client.flush()
        return client

    async def is_refused(self) -> bool:
        try:
            await (await self.connect()).close()
        except (NatsError, OSError):
            return True
        return False

    def _keep(self, enrolment: Enrolment) -> None:
        assert enrolment.credentials is not None
        given = enrolment.credentials
        self.expires_at = given.expires_at
        self.credentials = identity.credentials(given.jwt, self.machine.user)
        pki_files.save_chain(self.folder / "ca.pem", given.ca_pem.encode())
        pki_files.save_chain(self.folder / "node.pem", given.certificate_pem.encode())
        pki_files.save_key(self.folder / "node.key", self.machine.key)

    def _now(self) -> datetime:
        """The registry's clock is set by hand, tickets are checked by the server's: bring them together."""
        clock = self.registry.clock
        clock.jump((datetime.now(UTC) - clock.now()).total_seconds())
        return clock.now()


async def _ignore(_: Exception) -> None:
    """What the server complains about shows as a closed connection."""


@pytest.fixture
async def agent(nats_server: NatsServer, postgres_url: str, tmp_path: Path) -> AsyncIterator[Agent]:
    await upgrade(postgres_url, MIGRATIONS)
    store = PostgresStore(DatabaseSettings(url=postgres_url))
    registry = make_node_registry(
        Authorities(nats_server.pki_authority, nats_server.authority),
        store=store,
        clock=ManualClock(datetime.now(UTC)),
        settings=NodeSettings(credential_ttl_s=TTL_S, renewal_window_s=86_400),
        nats_urls=(nats_server.url,),
    )
    machine = Machine()
    node_id = (await registry.register(machine)).node_id
    await approve_node(registry.deps, command(node_id))
    yield Agent(registry, machine, node_id, tmp_path)
    await store.close()


async def passed(at: datetime) -> None:
    """Wait until the real clock has passed it."""
    async with asyncio.timeout(30):
        while datetime.now(UTC) <= at:
            await asyncio.sleep(0.02)


async def closed(client: Client, *, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not client.is_closed:
            await asyncio.sleep(0.02)


async def test_the_bus_ends_a_link_at_expiry_and_a_renewal_opens_it_again(agent: Agent) -> None:
    await agent.fetch()
    first = await agent.connect()
    await closed(first, within_s=TTL_S + 3)
    assert datetime.now(UTC) > agent.expires_at - timedelta(seconds=1)
    assert await agent.is_refused()
    await agent.renew()
    second = await agent.connect()
    await second.close()


async def test_a_node_that_renews_in_time_is_never_without_valid_credentials(agent: Agent) -> None:
    await agent.fetch()
    for _ in range(4):
        began = agent.expires_at - timedelta(seconds=TTL_S)
        await passed(began + timedelta(seconds=TTL_S * pki.RENEW_AFTER_PART))
        await agent.renew()
        client = await agent.connect()
        await client.close()


async def test_a_revoked_node_cannot_renew_its_way_back(agent: Agent) -> None:
    await agent.fetch()
    await revoke_node(agent.registry.deps, command(agent.node_id))
    with pytest.raises(Forbidden, match="revoked"):
        await agent.renew()
    await passed(agent.expires_at)
    assert await agent.is_refused()


async def test_after_the_window_only_an_approval_lets_a_node_back(agent: Agent) -> None:
    """Time is moved on the registry's clock alone: the node signs by the same clock."""
    await agent.fetch()
    clock, machine, node_id = agent.registry.clock, agent.machine, agent.node_id
    clock.advance(86_400 + TTL_S + 1)
    with pytest.raises(Forbidden, match="approve it again"):
        await renew_node(agent.registry.deps, machine.renews(node_id, clock.now()))
    await approve_node(agent.registry.deps, command(node_id))
    answer = await renew_node(agent.registry.deps, machine.renews(node_id, clock.now()))
    assert answer.credentials is not None
    assert answer.credentials.expires_at == clock.now() + timedelta(seconds=TTL_S)
