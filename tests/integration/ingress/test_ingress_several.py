"""Several ingresses side by side: each has all names, each node dials all of them, and one that ends takes nothing from the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lattice.testing import ManualClock, MemoryBroker
from tests.fixtures.ingress import IngressWorld, NodeTls, ingress_world


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    writer.close()


@pytest.fixture
async def pair(tls: NodeTls, tmp_path: Path) -> AsyncIterator[tuple[IngressWorld, IngressWorld]]:
    """Two on one bus, and a node that dials both."""
    broker = MemoryBroker(ManualClock())
    async with (
        ingress_world(tls, tmp_path, broker=broker) as first,
        ingress_world(tls, tmp_path, broker=broker) as second,
    ):
        node = await first.add_node()
        await first.route("web", await first.serve("web", hello))
        await node.know((first.address, second.address))
        await second.until(lambda: "nd-1" in second.ingress.tunnels.reachable)
        yield first, second


async def test_each_answers_to_all_names(pair: tuple[IngressWorld, IngressWorld]) -> None:
    first, second = pair
    for world in (first, second, first):
        assert (await world.get("web")).text == "hello"
    await first.route("web", waiting_for="it is stopped")
    for world in pair:
        assert (await world.get("web")).status_code == 503


async def test_one_that_ends_takes_nothing_from_the_others(pair: tuple[IngressWorld, IngressWorld]) -> None:
    first, second = pair
    links = len(second.ingress.tunnels._owners)
    await first.ingress.stop()
    assert (await second.get("web")).text == "hello"
    assert len(second.ingress.tunnels._owners) == links
    await second.bus.settle()
    assert second.ingress.tunnels.reachable == {"nd-1"}


async def test_one_that_comes_later_learns_all_names_from_the_bus(tls: NodeTls, tmp_path: Path) -> None:
    broker = MemoryBroker(ManualClock())
    async with ingress_world(tls, tmp_path, broker=broker) as first:
        node = await first.add_node()
        await first.route("web", await first.serve("web", hello))
        async with ingress_world(tls, tmp_path, broker=broker) as late:
            await node.know((first.address, late.address))
            await late.until(lambda: "nd-1" in late.ingress.tunnels.reachable)
            assert (await late.get("web")).text == "hello"
            await node.know((first.address,))
            await late.until(lambda: not late.ingress.tunnels.reachable)
            assert (await first.get("web")).text == "hello"
