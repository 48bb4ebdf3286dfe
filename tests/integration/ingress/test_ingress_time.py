"""Limits of time: who is silent for too long, or there for too long, is broken off, and who is neither is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve as serve_websocket

from lattice.contracts.messages import TunnelCall
from lattice.contracts.spec import PortProtocol
from lattice.errors import Temporary
from lattice.metrics.instruments import REGISTRY
from services.gateway.ingress_link import IngressLink
from tests.fixtures.ingress import DOMAIN, IngressWorld, NodeTls, ingress_world, shout
from tests.fixtures.ports import free_port

MIB = 2**20
NAME = f"web.{DOMAIN}"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def limited(tls: NodeTls, folder: Path, **settings: Any) -> AsyncIterator[IngressWorld]:
    async with ingress_world(tls, folder, **settings) as world:
        await world.add_node()
        yield world


async def over_tcp(world: IngressWorld, serve: object = shout) -> Connection:
    """A connection to a port of a route, through which something has gone."""
    port = free_port()
    await world.route("db", await world.serve("db", serve), protocol=PortProtocol.TCP, port=port)  # type: ignore[arg-type]
    await world.until(lambda: port in world.ingress.tcp.ports)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello\n")
    assert await reader.readline() == b"HELLO\n"
    return reader, writer


async def until_broken(connection: Connection) -> float:
    """After how long it is broken off."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    with pytest.raises(ConnectionError):
        async with asyncio.timeout(10):
            while await connection[0].read(MIB):
                pass
    connection[1].close()
    return loop.time() - began_s


def ended(limit: str) -> float:
    """How many connections a limit has ended so far."""
    return REGISTRY.get_sample_value("lattice_ingress_out_of_time_total", {"limit": limit}) or 0.0


async def test_who_is_silent_over_tcp_is_broken_off(tls: NodeTls, tmp_path: Path) -> None:
    before = ended("idle")
    async with limited(tls, tmp_path, tcp_idle_timeout_s=0.5) as world:
        assert 0.4 < await until_broken(await over_tcp(world)) < 3
        await world.until(
            lambda: not len(world.ingress.guests) and not any(world.ingress.places.busy.values())
        )
        assert not world.ingress.sweep._seen
    assert ended("idle") == before + 1


async def test_who_speaks_now_and_then_stays(tls: NodeTls, tmp_path: Path) -> None:
    async with limited(tls, tmp_path, tcp_idle_timeout_s=0.6) as world:
        reader, writer = await over_tcp(world)
        for _ in range(6):
            await asyncio.sleep(0.25)
            writer.write(b"again\n")
            assert await reader.readline() == b"AGAIN\n"
        writer.close()


async def test_one_direction_is_enough(tls: NodeTls, tmp_path: Path) -> None:
    async def tick(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        for number in range(6):
            await asyncio.sleep(0.25)
            writer.write(b"%d\n" % number)
        writer.close()

    async with limited(tls, tmp_path, tcp_idle_timeout_s=0.6) as world:
        reader, writer = await over_tcp(world, tick)
        assert [await reader.readline() for _ in range(6)] == [b"%d\n" % number for number in range(6)]
        writer.close()


async def test_who_has_heard_all_and_reads_none_of_it_is_broken_off(tls: NodeTls, tmp_path: Path) -> None:
    """Its stream is over, and what is left waits for a reader."""

    async def much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await reader.read()
        writer.write(b"x" * 32 * MIB)
        writer.close()

    async with limited(tls, tmp_path, tcp_idle_timeout_s=0.5) as world:
        _, writer = await over_tcp(world, much)
        writer.write_eof()
        await world.until(lambda: not len(world.ingress.guests))
        writer.close()


async def test_nothing_over_tcp_lasts_longer_than_it_may_in_all(tls: NodeTls, tmp_path: Path) -> None:
    before = ended("total")
    async with limited(tls, tmp_path, total_timeout_s=0.8) as world:
        reader, writer = await over_tcp(world)

        async def speak() -> None:
            while True:
                await asyncio.sleep(0.1)
                writer.write(b"again\n")

        speaking = asyncio.create_task(speak())
        assert 0.5 < await until_broken((reader, writer)) < 3
        speaking.cancel()
    assert ended("total") == before + 1


async def test_what_the_gateway_forwards_is_ended_when_nothing_is_said(tls: NodeTls, tmp_path: Path) -> None:
    async with limited(tls, tmp_path, tcp_idle_timeout_s=0.5) as world:
        context, target = world.tls.service("gateway"), await world.serve("db", shout)
        gateway = IngressLink((world.address,), lambda: context)
        pipe = await gateway.open(TunnelCall.model_validate(target.model_dump()))
        await pipe.send(b"hello\n")
        assert await pipe.read() == b"HELLO\n"
        with pytest.raises(Temporary, match="nothing was said for"):
            async with asyncio.timeout(5):
                await pipe.read()
        await world.until(lambda: not world.ingress.calls._tasks)
        assert not world.ingress.sweep._seen
        gateway.close()


# --- over HTTP ---------------------------------------------------------------------------------------------


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes a request and says nothing."""
    try:
        while await reader.read(MIB):
            pass
    except ConnectionError:
        pass
    writer.close()


async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begins an answer and does not end it."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\nbegin")
    with suppress(ConnectionError):
        await reader.read(1)
    writer.close()


async def test_an_exchange_that_takes_too_long_is_answered_by_us(tls: NodeTls, tmp_path: Path) -> None:
    async with limited(tls, tmp_path, total_timeout_s=0.5) as world:
        await world.route("web", await world.serve("web", silent))
        answer = await world.get("web")
        assert answer.status_code == 504 and "may take 0.5 s in all" in answer.text
        await world.until(lambda: not any(world.ingress.places.busy.values()))


@pytest.mark.parametrize("limit", ["total_timeout_s", "idle_timeout_s"])
async def test_an_answer_that_has_begun_is_broken_off(tls: NodeTls, tmp_path: Path, limit: str) -> None:
    """Also where the visitor would take the end of the connection for the end of the answer."""
    name = limit.partition("_")[0]
    before = ended(name)
    async with limited(tls, tmp_path, **{limit: 0.5}) as world:
        await world.route("web", await world.serve("web", begin))
        reader, writer = await asyncio.open_connection(world.host, world.ingress.ports.http)
        writer.write(f"GET / HTTP/1.0\r\nHost: {NAME}\r\n\r\n".encode())
        assert (await reader.readuntil(b"begin")).startswith(b"HTTP/1.1 200 ")
        assert await until_broken((reader, writer)) < 3
        await world.until(lambda: not any(world.ingress.places.busy.values()))
    assert ended(name) == before + 1


@pytest.mark.parametrize("limit", ["total_timeout_s", "idle_timeout_s"])
async def test_a_websocket_is_broken_off(tls: NodeTls, tmp_path: Path, limit: str) -> None:
    name = limit.partition("_")[0]
    before = ended(name)

    async def shout_back(socket: websockets.ServerConnection) -> None:
        async for message in socket:
            await socket.send(str(message).upper())

    async with (
        limited(tls, tmp_path, **{limit: 0.5}) as world,
        serve_websocket(shout_back, "127.0.0.1", 0, ping_interval=None) as server,
    ):
        endpoint = await world.serve("web", silent)
        world.nodes["nd-1"].ports["web"] = server.sockets[0].getsockname()[1]
        await world.nodes["nd-1"].know((world.address,))
        await world.route("web", endpoint)
        port = world.ingress.ports.http
        async with connect(
            f"ws://{NAME}:{port}/x", host="127.0.0.1", port=port, proxy=None, ping_interval=None
        ) as socket:
            await socket.send("one")
            assert await socket.recv() == "ONE"
            with pytest.raises(websockets.ConnectionClosedError):
                async with asyncio.timeout(5):
                    await socket.recv()
        await world.until(lambda: not any(world.ingress.places.busy.values()))
    assert ended(name) == before + 1


async def test_without_a_limit_in_all_exchanges_last_as_long_as_they_go_on(
    tls: NodeTls, tmp_path: Path
) -> None:
    async def tick(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for number in range(6):
            writer.write(b"%d" % number)
            await asyncio.sleep(0.25)
        writer.close()

    async with limited(tls, tmp_path, idle_timeout_s=0.6) as world:
        await world.route("web", await world.serve("web", tick))
        async with httpx.AsyncClient() as client:
            answer = await client.get(world.url, headers={"Host": NAME})
    assert answer.text == "012345"
