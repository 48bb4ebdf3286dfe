"""Connections to public TCP ports: spliced as they are, half-closed, many at once, and gone when their route is."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from lattice.contracts.spec import PortProtocol
from tests.fixtures.ingress import IngressWorld, shout
from tests.fixtures.ports import free_port

MIB = 2**20


async def digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads to the end of what is sent, and answers only then: with its hash, and with as much again."""
    seen, size = hashlib.sha256(), 0
    while data := await reader.read(MIB):
        seen.update(data)
        size += len(data)
    writer.write(seen.hexdigest().encode())
    for _ in range(size // MIB):
        writer.write(b"y" * MIB)
        await writer.drain()
    writer.close()


async def opened(world: IngressWorld, *endpoints: object, host: str = "db") -> int:
    """The port of a route, once it is listened on."""
    port = free_port()
    await world.route(host, *endpoints, protocol=PortProtocol.TCP, port=port)  # type: ignore[arg-type]
    await world.until(lambda: port in world.ingress.tcp.ports)
    return port


async def test_the_end_of_one_direction_is_not_the_end_of_the_other(world: IngressWorld) -> None:
    port = await opened(world, await world.serve("db", digest))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(8):
        writer.write(b"x" * MIB)
        await writer.drain()
    writer.write_eof()
    answer = await reader.read()
    assert (
        answer[:64].decode() == hashlib.sha256(b"x" * (8 * MIB)).hexdigest() and len(answer) == 64 + 8 * MIB
    )
    writer.close()


async def test_where_nothing_is_ready_the_connection_ends_at_once(world: IngressWorld) -> None:
    port = await opened(world)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        reader, _ = await asyncio.open_connection("127.0.0.1", port)
        await reader.readexactly(1)


async def test_a_route_that_is_taken_down_lets_nobody_in_and_ends_who_is(world: IngressWorld) -> None:
    endpoint = await world.serve("db", shout)
    port = await opened(world, endpoint)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"one\n")
    assert await reader.readline() == b"ONE\n"
    await world.route("db", endpoint, protocol=PortProtocol.TCP, port=port, taken_down="abuse")
    with pytest.raises(ConnectionError):
        await reader.readexactly(1)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        reader, _ = await asyncio.open_connection("127.0.0.1", port)
        await reader.readexactly(1)
    await world.route("db", endpoint, protocol=PortProtocol.TCP, port=port)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"two\n")
    assert await reader.readline() == b"TWO\n"
    writer.close()


async def test_a_released_route_closes_its_port_and_what_is_open_goes_on(world: IngressWorld) -> None:
    port = await opened(world, await world.serve("db", shout))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"one\n")
    assert await reader.readline() == b"ONE\n"
    await world.route("db", protocol=PortProtocol.TCP, port=port, released=True)
    await world.until(lambda: port not in world.ingress.tcp.ports)
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"two\n")
    assert await reader.readline() == b"TWO\n"
    writer.close()


async def test_a_port_that_somebody_else_has_is_tried_again(
    world: IngressWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ingress.tcp_front._TRY_AGAIN_S", 0.1)
    other = await asyncio.start_server(shout, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    await world.route("db", protocol=PortProtocol.TCP, port=port)
    await asyncio.sleep(0.3)
    assert port not in world.ingress.tcp.ports
    other.close()
    await world.until(lambda: port in world.ingress.tcp.ports)


async def test_a_connection_that_breaks_is_broken_on_the_other_side(world: IngressWorld) -> None:
    ended = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionError:
            ended.set()
        writer.close()

    port = await opened(world, await world.serve("db", wait))
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    await world.until(lambda: any(world.ingress.places.busy.values()))
    writer.transport.abort()
    await world.until(lambda: not any(world.ingress.places.busy.values()))
