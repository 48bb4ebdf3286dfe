"""An instance that has just ended takes nothing of a request, so another is asked; what has reached one is never said twice."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from lattice.contracts.messages import RouteEndpoint
from tests.fixtures.ingress import DOMAIN, IngressWorld

KIB = 2**10


async def tell_size(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with how many bytes a request's body had, over and over."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(
                (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
            )  # fmt: skip
            await reader.readexactly(size)
            said = f"{size}".encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def ended(world: IngressWorld, name: str) -> RouteEndpoint:
    """An instance on whose port nobody listens any more."""
    endpoint = await world.serve(name, tell_size)
    world.servers[-1].close()
    return endpoint


@pytest.mark.parametrize("size_bytes", [0, 10, 60 * KIB])
async def test_a_request_goes_to_another_instance(world: IngressWorld, size_bytes: int) -> None:
    await world.route(
        "web", await ended(world, "a"), await ended(world, "b"), await world.serve("c", tell_size)
    )
    async with httpx.AsyncClient(headers={"Host": f"web.{DOMAIN}"}) as client:
        for _ in range(3):
            answer = await client.post(world.url, content=b"x" * size_bytes)
            assert answer.text == str(size_bytes)
    await world.until(lambda: not any(world.ingress.places.busy.values()))


async def test_where_none_takes_it_the_page_says_so(world: IngressWorld) -> None:
    await world.route("web", await ended(world, "a"), await ended(world, "b"))
    answer = await world.get("web")
    assert answer.status_code == 502 and "its port does not answer" in answer.text


async def test_a_large_body_is_answered_whole_or_not_at_all(world: IngressWorld) -> None:
    gone = await ended(world, "a")
    await world.route("web", gone, await world.serve("b", tell_size))
    async with httpx.AsyncClient(headers={"Host": f"web.{DOMAIN}"}) as client:
        answers = [await client.post(world.url, content=b"x" * 8 * KIB * KIB) for _ in range(5)]
    # How much was read before the refusal came is a matter of luck; the answer is whole or says that there is none.
    assert all(answer.text == str(8 * KIB * KIB) or answer.status_code == 502 for answer in answers)


async def test_a_body_in_many_small_pieces_is_not_kept(world: IngressWorld) -> None:
    """Each piece takes some hundred bytes of memory, and a visitor may send one after the other for minutes."""
    await world.route("web", await ended(world, "a"), await world.serve("b", tell_size))
    pieces = b"".join(b"1\r\nx\r\n" for _ in range(200)) + b"0\r\n\r\n"
    head = f"POST / HTTP/1.1\r\nHost: web.{DOMAIN}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer = await world.raw(head.encode() + pieces)
    assert answer.startswith(b"HTTP/1.1 502")


async def test_what_an_instance_has_taken_is_said_to_no_other(world: IngressWorld) -> None:
    taken = 0

    async def take_and_break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        await reader.readuntil(b"\r\n\r\n")
        taken += 1
        writer.transport.abort()

    await world.route(
        "web", await world.serve("a", take_and_break_off), await world.serve("b", take_and_break_off)
    )
    assert (await world.get("web")).status_code == 502
    assert taken == 1
