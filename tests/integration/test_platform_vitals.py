"""What a real NATS server and a real Postgres tell of themselves."""

from __future__ import annotations

import asyncio

from lattice.bus_system import open_system_bus
from lattice.contracts.permissions import service_permissions
from lattice.contracts.streams import CONSUMERS, STREAMS
from lattice.metrics.declared import nats
from lattice.postgres import open_store
from lattice.settings import BusSettings, DatabaseSettings
from services.registry.measuring import of_servers, of_streams
from tests.fixtures.log_process import a_bus
from tests.fixtures.nats import NatsServer


async def test_servers_and_streams_are_told_of(nats_server: NatsServer) -> None:
    who = nats_server.system()
    settings = BusSettings(
        urls=[nats_server.url], ca_file=who.ca_file, cert_file=who.certificate_file, key_file=who.key_file,
        creds_file=who.credentials_file, server_name="localhost",
    )  # fmt: skip
    async with (
        a_bus(nats_server, nats_server.service("registry", service_permissions("registry"))) as bus,
        open_system_bus(settings, account=nats_server.authority.account.public) as system,
    ):
        await bus.ensure_topology(STREAMS, CONSUMERS)
        while not system.connected:
            await asyncio.sleep(0.01)
        servers = {each.spec.name: each.values[0] for each in of_servers(await system.vitals())}
        told = {(each.spec.name, *each.labels) for each in of_streams(await system.streams())}
    assert servers[nats.UP.name] == 1
    assert servers[nats.CONNECTIONS.name] >= 2
    assert servers[nats.MEMORY.name] > 2**20
    assert {name[1] for name in told if name[0] == nats.STREAM_MESSAGES.name} == {
        each.name for each in STREAMS
    }
    pending = {name[1:] for name in told if name[0] == nats.CONSUMER_PENDING.name}
    assert pending == {(each.stream, each.durable) for each in CONSUMERS}


async def test_the_database_is_told_of(postgres_url: str) -> None:
    async with open_store(DatabaseSettings(url=postgres_url)) as store, store.transaction():
        vitals = await store.vitals()
    assert vitals.size_bytes > 2**20
    assert vitals.connections_limit > 10
    assert vitals.active >= 1 and vitals.committed > 0
    assert vitals.pool_used + vitals.pool_idle >= 1
