"""A visitor who comes a little too early waits; who has no chance is told at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from lattice.contracts.spec import PortProtocol
from lattice.tunnel_stream import break_off
from tests.fixtures.ingress import IngressWorld, NodeTls, ingress_world, shout
from tests.fixtures.ports import free_port

PATIENCE_S = 2.0


@pytest.fixture
async def world(tls: NodeTls, tmp_path: Path) -> AsyncIterator[IngressWorld]:
    async with ingress_world(tls, tmp_path, place_timeout_s=PATIENCE_S) as world:
        await world.add_node()
        yield world


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


async def echo_to_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read())
    writer.close()


async def waiting(world: IngressWorld, request: asyncio.Task[httpx.Response]) -> None:
    """It has come, and nobody has answered it."""
    await world.until(lambda: bool(world.ingress.places._waiting))
    await asyncio.sleep(0.05)
    assert not request.done()


async def test_who_comes_while_it_starts_is_answered_as_soon_as_it_is_ready(world: IngressWorld) -> None:
    endpoint = await world.serve("web", hello)
    await world.route("web", waiting_for="it is starting", is_starting=True)
    first = [asyncio.create_task(world.get("web")) for _ in range(3)]
    await waiting(world, first[0])
    await world.route("web", waiting_for="it is starting", is_starting=True)
    await waiting(world, first[0])
    await world.route("web", endpoint)
    assert [answer.text for answer in await asyncio.gather(*first)] == ["hello"] * 3


async def test_a_node_that_connects_anew_is_waited_for(world: IngressWorld) -> None:
    await world.route("web", await world.serve("web", hello))
    for link in [*world.ingress.tunnels._owners]:
        link.close()
    await world.until(lambda: not world.ingress.tunnels.reachable)
    assert (await world.get("web")).text == "hello"


async def test_patience_has_an_end_and_what_does_not_start_is_not_waited_for(world: IngressWorld) -> None:
    await world.route("slow", waiting_for="it is starting", is_starting=True)
    await world.route("off", waiting_for="it is stopped")
    begun_s = time.monotonic()
    assert "It is stopped" in (await world.get("off")).text
    assert time.monotonic() - begun_s < PATIENCE_S
    answer = await world.get("slow")
    assert answer.status_code == 503 and "It is starting" in answer.text
    assert time.monotonic() - begun_s >= PATIENCE_S


@pytest.mark.parametrize("change", [{"taken_down": "spam"}, {"waiting_for": "it is stopped"}])
async def test_what_is_closed_meanwhile_is_not_waited_for_any_longer(
    world: IngressWorld, change: dict[str, str]
) -> None:
    await world.route("web", waiting_for="it is starting", is_starting=True)
    first = asyncio.create_task(world.get("web"))
    await waiting(world, first)
    await world.route("web", **change)
    assert (await first).status_code == 503


async def early(world: IngressWorld) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter]:
    """A visitor of a TCP port behind which nothing is ready yet."""
    port = free_port()
    await world.route(
        "db", protocol=PortProtocol.TCP, port=port, waiting_for="it is starting", is_starting=True
    )
    await world.until(lambda: port in world.ingress.tcp.ports)
    return port, *await asyncio.open_connection("127.0.0.1", port)


async def test_over_tcp_the_first_words_and_their_end_are_kept(world: IngressWorld) -> None:
    endpoint = await world.serve("db", echo_to_the_end)
    port, reader, writer = await early(world)
    words = b"w" * 3_000_000
    writer.write(words)
    writer.write_eof()
    await asyncio.sleep(0.2)
    await world.route("db", endpoint, protocol=PortProtocol.TCP, port=port)
    async with asyncio.timeout(10):
        assert await reader.read() == words
    writer.close()
    await world.until(lambda: not world.ingress.guests._here and not any(world.ingress.places.busy.values()))


async def test_over_tcp_the_end_may_come_before_any_word(world: IngressWorld) -> None:
    endpoint = await world.serve("db", echo_to_the_end)
    port, reader, writer = await early(world)
    writer.write_eof()
    await asyncio.sleep(0.2)
    await world.route("db", endpoint, protocol=PortProtocol.TCP, port=port)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_over_tcp_who_waits_may_leave_and_is_broken_off_in_the_end(world: IngressWorld) -> None:
    port, reader, writer = await early(world)
    _, leaving = await asyncio.open_connection("127.0.0.1", port)
    await world.until(lambda: len(world.ingress.guests._here) == 2)
    break_off(leaving.transport)  # type: ignore[arg-type]
    await world.until(lambda: len(world.ingress.guests._here) == 1)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()
    await world.until(lambda: not world.ingress.guests._here)


async def test_over_tcp_a_take_down_ends_who_waits(world: IngressWorld) -> None:
    port, reader, writer = await early(world)
    await world.until(lambda: bool(world.ingress.guests._here))
    await world.route("db", protocol=PortProtocol.TCP, port=port, taken_down="spam")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()
    await world.until(lambda: not world.ingress.guests._here)


async def test_over_tcp_they_talk_as_usual_afterwards(world: IngressWorld) -> None:
    endpoint = await world.serve("db", shout)
    port, reader, writer = await early(world)
    writer.write(b"first\n")
    await asyncio.sleep(0.1)
    await world.route("db", endpoint, protocol=PortProtocol.TCP, port=port)
    for word in (b"first", b"second"):
        if word != b"first":
            writer.write(word + b"\n")
        async with asyncio.timeout(10):
            assert await reader.readline() == word.upper() + b"\n"
    writer.close()
