"""The links of nodes: who is let in, which session counts, and that broken ones are noticed and dialled again."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lattice.contracts.messages import TunnelHello
from lattice.tunnel_link import TunnelLink
from tests.fixtures.ingress import IngressWorld, NodeTls, ingress_world, node_tls


@pytest.fixture
async def world(tls: NodeTls, tmp_path: Path) -> AsyncIterator[IngressWorld]:
    async with ingress_world(tls, tmp_path) as world:
        yield world


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    writer.close()


class Dialled:
    """A link that a test dials by hand."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.link = TunnelLink(lambda stream, _: None, dials=True, closed=lambda _: self.closed.set())

    async def until_closed(self, timeout_s: float = 5.0) -> None:
        async with asyncio.timeout(timeout_s):
            await self.closed.wait()


async def dial(
    world: IngressWorld, session: int, *, boot_id: str = "b1", context: ssl.SSLContext | None = None
) -> Dialled:
    """A link of node nd-1, or of whoever the context says."""
    made, loop = Dialled(), asyncio.get_running_loop()
    host, port = world.address.split(":")
    await loop.create_connection(lambda: made.link, host, int(port), ssl=context or world.tls.client("nd-1"))
    made.link.greet(TunnelHello(boot_id=boot_id, session=session).model_dump_json().encode())
    return made


async def links(world: IngressWorld, count: int) -> None:
    await world.until(lambda: len(world.ingress.tunnels._owners) == count)


async def test_the_newest_session_takes_over_and_an_older_one_is_sent_away(world: IngressWorld) -> None:
    older = [await dial(world, 5), await dial(world, 5)]
    await links(world, 2)
    newer = await dial(world, 6)
    for each in older:
        await each.until_closed()
    late = await dial(world, 5)
    await late.until_closed()
    assert newer.link.is_open and world.ingress.tunnels.reachable == {"nd-1"}
    newer.link.close()
    await links(world, 0)
    late = await dial(world, 5)
    await late.until_closed()
    assert world.ingress.tunnels.reachable == frozenset()


async def test_a_copy_of_a_node_is_sent_away(world: IngressWorld) -> None:
    node = await dial(world, 5)
    await links(world, 1)
    copy = await dial(world, 5, boot_id="b2")
    await copy.until_closed()
    assert node.link.is_open


async def test_only_nodes_of_this_platform_are_let_in(world: IngressWorld, tmp_path: Path) -> None:
    foreign = node_tls(tmp_path).client("nd-1")
    foreign.load_verify_locations(world.tls.ca)
    try:
        stranger = await dial(world, 5, context=foreign)
        await stranger.until_closed()  # TLS 1.3 tells a client only after its handshake
    except (ssl.SSLError, ConnectionError):
        pass
    nobody = ssl.create_default_context(cafile=str(world.tls.ca))
    try:
        stranger = await dial(world, 5, context=nobody)
        await stranger.until_closed()
    except (ssl.SSLError, ConnectionError):
        pass
    assert world.ingress.tunnels.reachable == frozenset()


async def test_a_node_that_changed_its_network_is_reached_again(world: IngressWorld) -> None:
    """Its old links are half-open: nothing comes from there, and nobody says that they ended."""
    old = await dial(world, 5)
    await links(world, 1)
    transport = old.link._transport
    assert transport is not None
    transport.pause_reading()
    began_s = asyncio.get_running_loop().time()
    node = await world.add_node()
    assert node.journal.session > 5
    await world.route("web", await world.serve("web", hello))
    assert (await world.get("web")).text == "hello"
    assert asyncio.get_running_loop().time() - began_s < 10


async def test_a_silent_link_is_given_up(world: IngressWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ingress.tunnels.SILENT_AFTER_S", 0.3)
    monkeypatch.setattr("services.ingress.tunnels.PING_EVERY_S", 0.1)
    old = await dial(world, 5)
    await links(world, 1)
    transport = old.link._transport
    assert transport is not None
    transport.pause_reading()
    await links(world, 0)
    assert world.ingress.tunnels.reachable == frozenset()


async def test_after_a_restart_of_the_ingress_all_names_answer_again(tls: NodeTls, tmp_path: Path) -> None:
    async with ingress_world(tls, tmp_path) as first:
        node = await first.add_node()
        endpoint = await first.serve("web", hello)
        await first.route("web", endpoint)
        assert (await first.get("web")).text == "hello"
        tunnel_port, http_port, *_ = first.ingress.ports
        await first.ingress.stop()
        began_s = asyncio.get_running_loop().time()
        async with ingress_world(tls, tmp_path, tunnel_port=tunnel_port, http_port=http_port) as second:
            await second.route("web", endpoint)
            await second.until(lambda: "nd-1" in second.ingress.tunnels.reachable)
            assert (await second.get("web")).text == "hello"
            assert asyncio.get_running_loop().time() - began_s < 10
        await node.stop()


async def test_requests_are_spread_over_replicas_and_avoid_nodes_that_are_away(world: IngressWorld) -> None:
    begun, go_on = asyncio.Queue[str](), asyncio.Event()

    def named(name: str):  # type: ignore[no-untyped-def]
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            begun.put_nowait(name)
            await go_on.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%s" % name.encode())
            writer.close()

        return serve

    await world.add_node("nd-1")
    other = await world.add_node("nd-2")
    endpoints = [await world.serve("a", named("a")), await world.serve("b", named("b"), node_id="nd-2")]
    await world.route("web", *endpoints)
    asking = [asyncio.create_task(world.get("web")) for _ in range(4)]
    assert sorted([await begun.get() for _ in range(4)]) == ["a", "a", "b", "b"]
    go_on.set()
    assert sorted([(await each).text for each in asking]) == ["a", "a", "b", "b"]
    await other.stop()
    await world.until(lambda: world.ingress.tunnels.reachable == {"nd-1"})
    assert {(await world.get("web")).text for _ in range(4)} == {"a"}


async def test_a_node_learns_of_other_ingresses_and_dials_again_soon(world: IngressWorld) -> None:
    node = await world.add_node()
    await node.know(())
    await links(world, 0)
    await node.know((world.address,))
    await links(world, 2)
    assert node.journal.session > int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
