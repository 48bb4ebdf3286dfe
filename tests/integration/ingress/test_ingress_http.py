"""Requests through an ingress and a tunnel to an instance: what arrives, what does not, and what visitors are told."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve as serve_websocket

from tests.fixtures.ingress import DOMAIN, IngressWorld, NodeTls, ingress_world

MIB = 2**20


@pytest.fixture
async def world(tls: NodeTls, tmp_path: Path) -> AsyncIterator[IngressWorld]:
    async with ingress_world(
        tls, tmp_path, head_timeout_s=1.0, answer_timeout_s=1.0, place_timeout_s=0.5
    ) as world:
        await world.add_node()
        yield world


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with the head that it was sent."""
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(head), head))
    writer.close()


async def test_a_request_arrives_with_who_asks_and_nothing_that_they_claim(world: IngressWorld) -> None:
    await world.route("web", await world.serve("web", echo))
    claims = {
        "Host": f"web.{DOMAIN}",
        "X-Forwarded-For": "9.9.9.9",
        "X-Lattice-User": "root",
        "Connection": "x-secret, host",
        "X-Secret": "1",
    }
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{world.url}/a%20b?c=d", headers=claims)
    lines = answer.text.split("\r\n")
    assert (answer.status_code, lines[0]) == (200, "GET /a%20b?c=d HTTP/1.1")
    headers = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines[1:] if line}
    assert headers["host"] == headers["x-forwarded-host"] == f"web.{DOMAIN}"
    assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == ("127.0.0.1", "http")
    assert not {"x-lattice-user", "x-secret"} & headers.keys()


async def test_many_requests_on_one_connection(world: IngressWorld) -> None:
    await world.route("web", await world.serve("web", echo))
    async with httpx.AsyncClient(base_url=world.url, headers={"Host": f"web.{DOMAIN}"}) as client:
        answers = [await client.get(f"/{number}") for number in range(20)]
    assert [answer.text.split()[1] for answer in answers] == [f"/{number}" for number in range(20)]
    assert "connection" not in answers[0].headers


async def test_large_bodies_in_both_directions(world: IngressWorld) -> None:
    async def hashed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        digest = hashlib.sha256()
        for _ in range(length // MIB):
            digest.update(await reader.readexactly(MIB))
        writer.write(b"HTTP/1.1 200 OK\r\nX-Digest: %s\r\n\r\n" % digest.hexdigest().encode())
        for _ in range(length // MIB):
            writer.write(b"y" * MIB)
            await writer.drain()
        writer.close()

    await world.route("web", await world.serve("web", hashed))
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(world.url, headers={"Host": f"web.{DOMAIN}"}, content=b"x" * (16 * MIB))
    assert answer.headers["x-digest"] == hashlib.sha256(b"x" * (16 * MIB)).hexdigest()
    assert answer.content == b"y" * (16 * MIB)


async def test_a_visitor_that_asks_first_may_send_its_body(world: IngressWorld) -> None:
    await world.route("web", await world.serve("web", echo))
    head = f"POST / HTTP/1.1\r\nHost: web.{DOMAIN}\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    answer = await world.raw(head.encode() + b"ok")
    assert (
        answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
        and b"expect:" not in answer.lower()
    )


async def test_a_body_may_take_longer_than_an_answer(world: IngressWorld) -> None:
    async def last(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0.4)
            yield b"x"

    await world.route("web", await world.serve("web", last))
    async with httpx.AsyncClient() as client:
        answer = await client.post(world.url, headers={"Host": f"web.{DOMAIN}"}, content=slowly())
    assert (answer.status_code, answer.text) == (200, "ok"), "the fixture's instances have 1 s to answer"


async def test_much_in_small_pieces_keeps_nobody_waiting(world: IngressWorld) -> None:
    """The loop goes on between the pieces of 3,000 chunks that came at once."""
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 3_000 + b"0\r\n\r\n"

    async def pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(whole)
        writer.close()

    await world.route("web", await world.serve("web", pieces))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    answer = await world.get("web")
    counting.cancel()
    assert answer.text == "x" * 3_000 and turns > 100


async def test_events_arrive_one_by_one(world: IngressWorld) -> None:
    go_on = asyncio.Event()

    async def events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n")
        await go_on.wait()
        writer.write(b"data: two\n\n")
        writer.close()

    await world.route("web", await world.serve("web", events))
    async with (
        httpx.AsyncClient() as client,
        client.stream("GET", world.url, headers={"Host": f"web.{DOMAIN}"}) as answer,
    ):
        pieces = answer.aiter_text()
        assert await anext(pieces) == "data: one\n\n"
        go_on.set()
        assert await anext(pieces) == "data: two\n\n"


async def test_a_websocket(world: IngressWorld) -> None:
    async def shout(socket: websockets.ServerConnection) -> None:
        async for message in socket:
            await socket.send(str(message).upper())

    async with serve_websocket(shout, "127.0.0.1", 0) as server:
        endpoint = await world.serve("web", echo)
        world.nodes["nd-1"].ports["web"] = server.sockets[0].getsockname()[1]
        await world.nodes["nd-1"].know((world.address,))
        await world.route("web", endpoint)
        port = world.ingress.ports[1]
        async with connect(f"ws://web.{DOMAIN}:{port}/x", host="127.0.0.1", port=port, proxy=None) as socket:
            for word in ("one", "two" * 100_000):
                await socket.send(word)
                assert await socket.recv() == word.upper()


async def test_a_websocket_on_which_one_side_speaks_stays(tls: NodeTls, tmp_path: Path) -> None:
    async def tick(socket: websockets.ServerConnection) -> None:
        for number in range(6):
            await socket.send(str(number))
            await asyncio.sleep(0.3)

    async with (
        ingress_world(tls, tmp_path, idle_timeout_s=1.0) as world,
        serve_websocket(tick, "127.0.0.1", 0, ping_interval=None) as server,
    ):
        await world.add_node()
        endpoint = await world.serve("web", echo)
        world.nodes["nd-1"].ports["web"] = server.sockets[0].getsockname()[1]
        await world.nodes["nd-1"].know((world.address,))
        await world.route("web", endpoint)
        port = world.ingress.ports[1]
        url = f"ws://web.{DOMAIN}:{port}/x"
        async with connect(url, host="127.0.0.1", port=port, proxy=None, ping_interval=None) as socket:
            assert [await socket.recv() for _ in range(6)] == list("012345")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: web.{D}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: web.{D}\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        (b"GET / HTTP/1.1\r\nHost: web.{D}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: web.{D}\r\nHost: other.{D}\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET http://other.{D}/ HTTP/1.1\r\nHost: web.{D}\r\n\r\n", 400),
        (b"CONNECT web.{D}:80 HTTP/1.1\r\nHost: web.{D}\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: web.{D}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: web.{D}\r\nX: a\r\n b\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost : web.{D}\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: web.{D}\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: web.{D}:80@evil.example\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: nobody.{D}\r\n\r\n", 404),
        (b"HEAD / HTTP/1.1\r\nHost: nobody.{D}\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\nHost: web.elsewhere\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\nHost: WEB.{D}.:80\r\nConnection: close\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: web.{D}\r\n", 408),
        (b"POST / HTTP/1.1\r\nHost: slow.{D}\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: slow.{D}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n-1\r\n", 400),
    ],
)  # fmt: skip
async def test_what_two_servers_could_understand_differently_is_refused(
    world: IngressWorld, request_: bytes, status: int
) -> None:
    await world.route("web", await world.serve("web", echo))
    await world.route("slow", await world.serve("slow", silent))
    text = request_.replace(b"{D}", DOMAIN.encode())
    if status == 200 and b"close" not in text:
        text = text.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answer = await world.raw(text)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]


async def test_a_connection_without_a_request_ends_without_a_word(world: IngressWorld) -> None:
    assert await world.raw(b"") == b""
    await world.route("web", await world.serve("web", echo))
    answer = await world.raw(f"GET / HTTP/1.1\r\nHost: web.{DOMAIN}\r\n\r\n".encode())
    assert answer.count(b"HTTP/1.1") == 2, "the answer, in which the request is told, and nothing after it"


async def test_trailers_do_not_pass(world: IngressWorld) -> None:
    async def read_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = await reader.readuntil(b"\r\n0\r\n") + await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(seen), seen))
        writer.close()

    await world.route("web", await world.serve("web", read_all))
    head = f"POST / HTTP/1.1\r\nHost: web.{DOMAIN}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer = await world.raw(head.encode() + b"2\r\nok\r\n0\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")
    assert b"\r\nok\r\n0\r\n\r\n" in answer and b"9.9.9.9" not in answer


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads all there is and answers nothing."""
    try:
        while await reader.read(MIB):
            pass
    except ConnectionError:
        pass
    writer.close()


async def test_pages_say_what_is_wrong(world: IngressWorld) -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\r\n\r\n")
        writer.close()

    await world.route("none", waiting_for="it is stopped")
    await world.route("silent", await world.serve("silent", silent))
    await world.route("rude", await world.serve("rude", rude))
    gone = await world.serve("gone", silent)
    world.servers[-1].close()
    await world.route("gone", gone)
    await world.route("far", gone.model_copy(update={"node_id": "nd-9"}))
    await world.route("moved", gone.model_copy(update={"instance_id": "in-other"}))
    said = {host: await world.get(host) for host in ("none", "silent", "rude", "gone", "far", "moved")}
    assert {host: answer.status_code for host, answer in said.items()} == {
        "none": 503, "silent": 504, "rude": 502, "gone": 502, "far": 503, "moved": 502,
    }  # fmt: skip
    assert "It is stopped." in said["none"].text
    assert "said nothing for 1 s" in said["silent"].text
    assert "its answer is not HTTP" in said["rude"].text
    assert "its port does not answer" in said["gone"].text
    assert "Its node is not connected" in said["far"].text
    assert "is not on this node any more" in said["moved"].text
    await world.until(lambda: not any(world.ingress.places.busy.values()))


async def test_who_would_take_a_part_for_the_whole_sees_that_it_is_none(world: IngressWorld) -> None:
    """Proxies of one's own often speak HTTP/1.0, and there the end of the connection is the end of an answer."""

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
        writer.close()

    await world.route("web", await world.serve("web", die))
    with pytest.raises(ConnectionError):
        await world.raw(f"GET / HTTP/1.0\r\nHost: web.{DOMAIN}\r\n\r\n".encode())
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(world.url, headers={"Host": f"web.{DOMAIN}"})


async def test_a_visitor_that_goes_away_leaves_nothing(world: IngressWorld) -> None:
    ended = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nbegin")
        try:
            while await reader.read(1):
                pass
        except ConnectionError:
            pass
        ended.set()
        writer.close()

    await world.route("web", await world.serve("web", slow))
    async with (
        httpx.AsyncClient() as client,
        client.stream("GET", world.url, headers={"Host": f"web.{DOMAIN}"}) as answer,
    ):
        await anext(answer.aiter_text())
    async with asyncio.timeout(5):
        await ended.wait()
