"""Streams that nodes ask for because one of their instances has a link: only those, only where the registry says so, and to whoever is ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lattice.contracts.catalogue import LINK
from lattice.contracts.messages import LinkCall, LinkDocument, RouteEndpoint
from lattice.errors import Temporary
from lattice.tunnel_pipe import TunnelPipe
from tests.fixtures.ingress import CONTAINER_PORT, IngressWorld, NodeTls, ingress_world, shout


async def link(
    world: IngressWorld, name: str, *endpoints: RouteEndpoint, clients: tuple[str, ...], **more: object
) -> None:
    """Tell the ingress of links to a workload, newer than before."""
    number = world.numbers[name] = world.numbers.get(name, 0) + 1
    ports = dict.fromkeys(clients, (CONTAINER_PORT,))
    document = LinkDocument(
        link_id=f"lk-{name}", project="default", workload_name=name, endpoints=endpoints, clients=ports, era=1, number=number, **more
    )  # fmt: skip
    await world.bus.append(LINK, document, msg_id=f"{name}-{number}", link_id=document.link_id)
    await world.bus.settle()


async def opened(
    world: IngressWorld, name: str, *, by: str = "nd-2", port: int = CONTAINER_PORT
) -> TunnelPipe:
    call = LinkCall(instance_id="in-app", project="default", workload_name=name, container_port=port)
    return TunnelPipe(await world.nodes[by].tunnels.open(call))


async def answer_to(pipe: TunnelPipe) -> bytes:
    await pipe.send(b"hello\n")
    async with asyncio.timeout(10):
        return await pipe.read()


async def why_refused(pipe: TunnelPipe) -> str:
    with pytest.raises(Temporary) as refused:
        async with asyncio.timeout(10):
            await pipe.read()
    return refused.value.detail


@pytest.fixture
async def two_nodes(tls: NodeTls, tmp_path: Path) -> AsyncIterator[IngressWorld]:
    """nd-1 has the workload, nd-2 what links to it; who comes too early waits for a second."""
    async with ingress_world(tls, tmp_path, place_timeout_s=1.0) as world:
        await world.add_node("nd-1")
        await world.add_node("nd-2")
        yield world


async def test_a_node_reaches_what_its_instances_have_links_to(two_nodes: IngressWorld) -> None:
    endpoint = await two_nodes.serve("db", shout)
    await link(two_nodes, "db", endpoint, clients=("nd-2",))
    pipe = await opened(two_nodes, "db")
    assert await answer_to(pipe) == b"HELLO\n"
    assert two_nodes.ingress.places.busy == {endpoint.instance_id: 1}
    pipe.end()
    assert await pipe.read() == b""
    await two_nodes.until(lambda: not two_nodes.ingress.places.busy)


async def test_no_other_node_does_and_it_is_told_why(two_nodes: IngressWorld) -> None:
    endpoint = await two_nodes.serve("db", shout)
    await link(two_nodes, "db", endpoint, clients=("nd-9",))
    assert "nothing on this node has a link to db" in await why_refused(await opened(two_nodes, "db"))
    assert "nothing on this node has a link to other" in await why_refused(await opened(two_nodes, "other"))


async def test_who_comes_a_little_too_early_waits(two_nodes: IngressWorld) -> None:
    endpoint = await two_nodes.serve("db", shout)
    pipe = await opened(two_nodes, "db")
    await asyncio.sleep(0.1)
    await link(two_nodes, "db", clients=("nd-2",), is_starting=True, waiting_for="it is starting")
    await asyncio.sleep(0.1)
    await link(two_nodes, "db", endpoint, clients=("nd-2",), is_starting=False)
    assert await answer_to(pipe) == b"HELLO\n"


async def test_a_stopped_workload_is_not_waited_for(two_nodes: IngressWorld) -> None:
    await link(two_nodes, "db", clients=("nd-2",), waiting_for="it is stopped")
    assert await why_refused(await opened(two_nodes, "db")) == "db: it is stopped"


async def test_only_ports_of_links_are_led_to(two_nodes: IngressWorld) -> None:
    endpoint = await two_nodes.serve("db", shout)
    await link(two_nodes, "db", endpoint, clients=("nd-2",))
    assert "nothing on this node has a link to db" in await why_refused(
        await opened(two_nodes, "db", port=22)
    )
    assert not two_nodes.ingress.places._waiting and not two_nodes.ingress.calls._waiting


async def test_an_older_document_changes_nothing(two_nodes: IngressWorld) -> None:
    endpoint = await two_nodes.serve("db", shout)
    await link(two_nodes, "db", endpoint, clients=("nd-2",))
    two_nodes.numbers["db"] = 0
    await link(two_nodes, "db", clients=())
    assert await answer_to(await opened(two_nodes, "db")) == b"HELLO\n"
