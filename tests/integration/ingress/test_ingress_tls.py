"""Workloads with a certificate of their own: found by the name that a client asks for, and never read on the way."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lattice import pki
from lattice.contracts.messages import RouteEndpoint
from lattice.contracts.spec import PortProtocol
from lattice.pki_files import save_chain, save_key
from tests.fixtures.ingress import DOMAIN, IngressWorld, NodeTls, ingress_world, node_tls

MIB = 2**20


@pytest.fixture
async def world(tls: NodeTls, tmp_path: Path) -> AsyncIterator[IngressWorld]:
    async with ingress_world(tls, tmp_path, head_timeout_s=1.0, place_timeout_s=2.0) as world:
        await world.add_node()
        yield world


class Own:
    """A workload's own authority and certificate."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        made, key = node_tls(folder), pki.new_private_key()
        leaf = pki.issue_service(
            made.authority, key.public_key(), "web", now=datetime.now(UTC), lifetime=timedelta(hours=1), dns_names=[name]
        )  # fmt: skip
        save_key(folder / "own.key", key)
        save_chain(folder / "own.pem", made.authority.chain_pem(leaf))
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.load_cert_chain(folder / "own.pem", folder / "own.key")
        self.client = ssl.create_default_context(cafile=str(made.ca))


async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve(world: IngressWorld, own: Own, name: str) -> RouteEndpoint:
    """An instance that serves TLS."""
    server = await asyncio.start_server(repeat, "127.0.0.1", 0, ssl=own.server)
    world.servers.append(server)
    node = world.nodes["nd-1"]
    node.ports[name] = server.sockets[0].getsockname()[1]
    await node.know((world.address,))
    return RouteEndpoint(instance_id=f"in-wl-{name}-0-1", node_id="nd-1", container_port=8080)


async def connect(
    world: IngressWorld, own: Own, label: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    name = f"{label}.{DOMAIN}"
    return await asyncio.open_connection(
        "127.0.0.1", world.ingress.ports[2], ssl=own.client, server_hostname=name
    )


async def said_back(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], data: bytes) -> bytes:
    reader, writer = connection
    writer.write(data)
    async with asyncio.timeout(20):
        answer = await reader.readexactly(len(data))
    writer.close()
    return answer


async def test_each_name_leads_to_its_own_certificate(world: IngressWorld, tmp_path: Path) -> None:
    for label in ("web", "shop"):
        own = Own(tmp_path / f"own-{label}", f"{label}.{DOMAIN}")
        await world.route(label, await serve(world, own, label), protocol=PortProtocol.TLS)
        data = label.encode() * MIB
        assert await said_back(await connect(world, own, label), data) == data
    await world.until(lambda: not world.ingress.guests._here and not any(world.ingress.places.busy.values()))


async def test_a_name_of_nobody_is_told_in_the_words_of_tls(world: IngressWorld, tmp_path: Path) -> None:
    own = Own(tmp_path / "own", f"web.{DOMAIN}")
    await world.route("web", protocol=PortProtocol.HTTP)
    for label in ("nobody", "web"):  # the second is not to be reached in this way
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            await connect(world, own, label)


async def test_a_name_of_tls_is_no_name_of_http(world: IngressWorld, tmp_path: Path) -> None:
    own = Own(tmp_path / "own", f"web.{DOMAIN}")
    await world.route("web", await serve(world, own, "web"), protocol=PortProtocol.TLS)
    assert (await world.get("web")).status_code == 404


async def test_who_comes_while_it_starts_waits(world: IngressWorld, tmp_path: Path) -> None:
    own = Own(tmp_path / "own", f"web.{DOMAIN}")
    endpoint = await serve(world, own, "web")
    await world.route("web", protocol=PortProtocol.TLS, waiting_for="it is starting", is_starting=True)
    early = asyncio.create_task(connect(world, own, "web"))
    await world.until(lambda: bool(world.ingress.places._waiting))
    await world.route("web", endpoint, protocol=PortProtocol.TLS)
    assert await said_back(await early, b"hello") == b"hello"


async def test_a_hello_in_small_pieces_is_understood(world: IngressWorld, tmp_path: Path) -> None:
    own = Own(tmp_path / "own", f"web.{DOMAIN}")
    await world.route("web", await serve(world, own, "web"), protocol=PortProtocol.TLS)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = own.client.wrap_bio(incoming, outgoing, server_hostname=f"web.{DOMAIN}")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    reader, writer = await asyncio.open_connection("127.0.0.1", world.ingress.ports[2])
    for byte in outgoing.read():
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert (await reader.readexactly(1)) == b"\x16", "the workload's own handshake"
    writer.close()


@pytest.mark.parametrize(
    "said", [b"", b"\x16\x03", b"GET / HTTP/1.1\r\n\r\n"], ids=["silent", "slow", "http"]
)
async def test_who_does_not_say_whom_they_want_is_broken_off(world: IngressWorld, said: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.ingress.ports[2])
    writer.write(said)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        async with asyncio.timeout(5):
            await reader.readexactly(1)
    writer.close()
    assert not world.ingress.tls.strangers


async def test_a_take_down_ends_who_is_there(world: IngressWorld, tmp_path: Path) -> None:
    own = Own(tmp_path / "own", f"web.{DOMAIN}")
    await world.route("web", await serve(world, own, "web"), protocol=PortProtocol.TLS)
    reader, _ = await connect(world, own, "web")
    await world.route("web", protocol=PortProtocol.TLS, taken_down="spam")
    with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
        async with asyncio.timeout(5):
            await reader.readexactly(1)
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await connect(world, own, "web")
