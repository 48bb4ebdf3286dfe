"""The gateway's own schema on a real Postgres, and its process on real NATS and Postgres with exactly the permissions it has."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from lattice import pki, pki_files
from lattice.bus import NatsBus
from lattice.contracts import catalogue
from lattice.contracts.nouns import Role
from lattice.contracts.permissions import service_permissions
from lattice.migrations import missing_changes, upgrade
from lattice.postgres import PostgresStore
from lattice.settings import BusSettings, DatabaseSettings
from lattice.testing import ManualClock
from services.gateway.tables import MIGRATIONS, ApiTokenRow, RoleRow, SessionRow, UserRow
from tests.fixtures.gateway import StubRegistry, World, running_gateway
from tests.fixtures.nats import BusIdentity, NatsServer
from tests.fixtures.ports import free_port

SOON_S = 30
PASSWORD = "correct horse battery"


# ---------------------------------------------------------------- the schema


async def test_the_migrations_make_what_the_row_classes_say(postgres_url: str) -> None:
    await upgrade(postgres_url, MIGRATIONS)
    await upgrade(postgres_url, MIGRATIONS)  # nothing is done twice
    assert await missing_changes(postgres_url, MIGRATIONS) == ""


@pytest.fixture
async def world(postgres_url: str, tmp_path: Path) -> AsyncIterator[World]:
    await upgrade(postgres_url, MIGRATIONS)
    store = PostgresStore(DatabaseSettings(url=postgres_url))
    async with running_gateway(tmp_path, store=store) as world:
        yield world
    await store.close()


async def test_people_come_and_go(world: World) -> None:
    body = {"username": "ada", "password": PASSWORD, "roles": {"default": "viewer", "own": "deployer"}}
    made = await world.post("/v1/users", json=body)
    assert made.status_code == 201, made.text
    signed_in = await world.post("/v1/auth/login", as_=None, json={"username": "ada", "password": PASSWORD})
    world.tokens["ada"] = signed_in.json()["token"]
    await world.post("/v1/tokens", as_="ada", json={"name": "ci"})
    changed = await world.request(
        "PATCH",
        "/v1/users/ada",
        json={"roles": {"own": "operator"}},
        headers={"If-Match": made.headers["ETag"]},
    )
    assert changed.json()["roles"] == {"own": "operator"}
    assert (await world.get("/v1/me", as_="ada")).json()["roles"] == {"own": "operator"}
    assert (await world.request("DELETE", "/v1/users/ada")).status_code == 204
    assert (await world.get("/v1/me", as_="ada")).status_code == 401
    async with world.store.transaction() as tx:
        counts = [await tx.count(table) for table in (UserRow, RoleRow, ApiTokenRow, SessionRow)]
    assert counts == [1, 1, 1, 0]  # the admin's


async def test_a_taken_name_is_a_conflict_even_at_the_same_moment(world: World) -> None:
    answers = await asyncio.gather(*(world.post("/v1/users", json={"username": "ada"}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


async def test_the_same_key_at_the_same_moment_makes_one(world: World) -> None:
    headers = {"Idempotency-Key": "k1"}
    answers = await asyncio.gather(
        *(world.post("/v1/tokens", json={"name": "ci"}, headers=headers) for _ in range(8))
    )
    assert len({answer.json()["token"] for answer in answers}) == 1


async def test_one_of_many_set_ups_wins(world: World) -> None:
    assert world.settings.bootstrap_secret_file is not None
    world.settings.bootstrap_secret_file.write_text("one-time")
    bodies = [{"secret": "one-time", "username": f"root{i}", "password": PASSWORD} for i in range(5)]
    answers = await asyncio.gather(*(world.post("/v1/auth/setup", as_=None, json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, 410, 410, 410, 410]


async def test_two_admins_who_remove_each_other_leave_one(world: World) -> None:
    await world.add_user("second", {"*": Role.ADMIN})
    answers = await asyncio.gather(
        world.request("DELETE", "/v1/users/second"), world.request("DELETE", "/v1/users/admin", as_="second")
    )
    assert 204 in (codes := sorted(answer.status_code for answer in answers))
    assert codes != [204, 204]


async def test_the_audit_comes_in_pages_from_the_database(world: World) -> None:
    for number in range(5):
        world.clock.advance(1)
        await world.post("/v1/users", json={"username": f"user{number}"})
    names: list[str] = []
    token: str | None = None
    for _ in range(5):
        params = {"page_size": "2", "action": "user.create"} | ({"page_token": token} if token else {})
        page = (await world.get("/v1/audit", params=params)).json()
        names += [row["after"]["username"] for row in page["items"]]
        if (token := page["next_page_token"]) is None:
            break
    assert names == [f"user{number}" for number in reversed(range(5))]


# ---------------------------------------------------------------- the process


@dataclass
class Process:
    """`python -m services.gateway`, and a stub registry on the same bus."""

    process: asyncio.subprocess.Process
    registry: StubRegistry
    bus: NatsBus
    client: httpx.AsyncClient
    log: Path

    async def wait_ready(self) -> None:
        async with asyncio.timeout(SOON_S):
            while not await self._is_ready():
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.1)

    async def _is_ready(self) -> bool:
        try:
            return (await self.client.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), SOON_S)


def _bus_settings(server: NatsServer, user: BusIdentity) -> BusSettings:
    return BusSettings(
        urls=[server.url],
        ca_file=user.ca_file,
        cert_file=user.certificate_file,
        key_file=user.key_file,
        creds_file=user.credentials_file,
        server_name="localhost",
    )


def _environment(folder: Path, server: NatsServer, database: str, port: int) -> dict[str, str]:
    """What the supervisor would set."""
    authority = pki.create_authority(name="test", now=datetime.now(UTC)).authority
    key = pki.new_private_key()
    leaf = pki.issue_service(
        authority, key.public_key(), "gateway", now=datetime.now(UTC), lifetime=timedelta(days=1), ip_addresses=["127.0.0.1"]
    )  # fmt: skip
    pki_files.save_key(folder / "key.pem", key)
    pki_files.save_chain(folder / "cert.pem", authority.chain_pem(leaf))
    (folder / "ca.pem").write_bytes(authority.trust_pem)
    (folder / "operator-token").write_text(f"lat_{'0' * 26}_{'a' * 52}")
    user = server.service("gateway", service_permissions("gateway"))
    return {
        "PATH": os.environ["PATH"],
        "LATTICE_NATS_URLS": f'["{server.url}"]',
        "LATTICE_NATS_CA_FILE": str(user.ca_file),
        "LATTICE_NATS_CERT_FILE": str(user.certificate_file),
        "LATTICE_NATS_KEY_FILE": str(user.key_file),
        "LATTICE_NATS_CREDS_FILE": str(user.credentials_file),
        "LATTICE_NATS_SERVER_NAME": "localhost",
        "LATTICE_DATABASE_URL": database,
        "LATTICE_GATEWAY_PORT": str(port),
        "LATTICE_GATEWAY_PUBLIC_URL": f"https://127.0.0.1:{port}",
        "LATTICE_GATEWAY_TLS_CERT_FILE": str(folder / "cert.pem"),
        "LATTICE_GATEWAY_TLS_KEY_FILE": str(folder / "key.pem"),
        "LATTICE_GATEWAY_CA_FILE": str(folder / "ca.pem"),
        "LATTICE_GATEWAY_OPERATOR_TOKEN_FILE": str(folder / "operator-token"),
        "LATTICE_GATEWAY_STREAM_KEEPALIVE_S": "0.5",
    }


@pytest.fixture
async def process(nats_server: NatsServer, postgres_url: str, tmp_path: Path) -> AsyncIterator[Process]:
    port = free_port()
    environment = _environment(tmp_path, nats_server, postgres_url, port)
    registry = StubRegistry(ManualClock())
    settings = _bus_settings(nats_server, nats_server.service("registry"))
    headers = {"Authorization": f"Bearer {(tmp_path / 'operator-token').read_text()}"}
    context = pki_files.client_context(tmp_path / "ca.pem")
    async with (
        NatsBus(settings, identity="registry") as bus,
        httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{port}", verify=context, headers=headers, timeout=SOON_S
        ) as client,
    ):
        await registry.serve(bus)
        with (tmp_path / "log").open("wb") as log:
            command = [sys.executable, "-m", "services.gateway"]
            child = await asyncio.create_subprocess_exec(*command, env=environment, stderr=log)
        yield Process(child, registry, bus, client, tmp_path / "log")
        if child.returncode is None:
            child.kill()
            await child.wait()


async def test_the_process_serves_streams_and_ends_as_told(process: Process) -> None:
    await process.wait_ready()
    process.registry.add_node()
    nodes = await process.client.get("/v1/nodes")
    assert [node["name"] for node in nodes.json()["items"]] == ["one"]
    assert (await process.client.post("/v1/projects", json={"name": "own"})).status_code == 201
    async with process.client.stream("GET", "/v1/events?after=0&follow=true") as answer:
        lines = answer.aiter_lines()
        assert await asyncio.wait_for(_first_comment(lines), SOON_S)
        fact = process.registry.add_fact()
        await process.bus.publish(
            catalogue.FACT, fact, project=fact.project, entity=fact.entity, verb=fact.verb
        )
        assert await asyncio.wait_for(_first_id(lines), SOON_S) == "1"
        assert await process.stop() == 0
    said = process.log.read_text()
    assert "a" * 52 not in said
    assert "permission" not in said.lower(), said


async def _first_comment(lines: AsyncIterator[str]) -> bool:
    async for line in lines:
        if line.startswith(":"):
            return True
    return False


async def _first_id(lines: AsyncIterator[str]) -> str:
    async for line in lines:
        if line.startswith("id: "):
            return line.removeprefix("id: ")
    return ""


async def test_a_database_that_is_away_is_waited_for(
    nats_server: NatsServer, postgres_url: str, tmp_path: Path
) -> None:
    environment = _environment(tmp_path, nats_server, postgres_url, free_port())
    environment["LATTICE_DATABASE_URL"] = f"postgresql+asyncpg://nobody@127.0.0.1:{free_port()}/nothing"
    with (tmp_path / "log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.gateway", env=environment, stderr=log
        )
    async with asyncio.timeout(SOON_S):
        while "waiting for the database" not in (tmp_path / "log").read_text():
            assert child.returncode is None, (tmp_path / "log").read_text()
            await asyncio.sleep(0.1)
    child.terminate()
    assert await asyncio.wait_for(child.wait(), SOON_S) == 0
