"""What the gateway asks of an ingress: streams to instances, public or not, as `lattice forward` needs them."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from lattice.contracts.messages import RouteEndpoint, TunnelCall
from lattice.errors import Temporary
from lattice.tunnel_pipe import TunnelPipe
from services.gateway.ingress_link import IngressLink
from tests.fixtures.ingress import IngressWorld, shout

MIB = 2**20


def link(world: IngressWorld, *, addresses: tuple[str, ...] = (), service: str = "gateway") -> IngressLink:
    context = world.tls.service(service)
    return IngressLink(addresses or (world.address,), lambda: context)


def call(endpoint: RouteEndpoint) -> TunnelCall:
    return TunnelCall(
        node_id=endpoint.node_id, instance_id=endpoint.instance_id, container_port=endpoint.container_port
    )


async def everything(pipe: TunnelPipe) -> bytes:
    pieces = []
    async with asyncio.timeout(20):
        while piece := await pipe.read():
            pieces.append(piece)
    return b"".join(pieces)


async def until_refused(pipe: TunnelPipe) -> str:
    with pytest.raises(Temporary) as refused:
        await everything(pipe)
    return refused.value.detail


async def test_an_instance_without_any_route_answers(world: IngressWorld) -> None:
    gateway = link(world)
    target = call(await world.serve("db", shout))
    pipes = [await gateway.open(target) for _ in range(3)]
    for number, pipe in enumerate(pipes):
        await pipe.send(b"hello %d\n" % number)
    for number, pipe in enumerate(pipes):
        assert await pipe.read() == b"HELLO %d\n" % number
        pipe.end()
        assert await everything(pipe) == b""
    assert len(world.ingress.tunnels._callers) == 1, "all go over one connection"
    await world.until(lambda: not world.ingress.calls._tasks)
    gateway.close()
    await world.until(lambda: not world.ingress.tunnels._callers)


async def test_much_goes_both_ways_and_ends_are_told_apart(world: IngressWorld) -> None:
    async def tell_hash_and_repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.read()
        writer.write(hashlib.sha256(said).hexdigest().encode() + said)
        writer.close()

    gateway = link(world)
    pipe = await gateway.open(call(await world.serve("db", tell_hash_and_repeat)))
    for _ in range(16):
        await pipe.send(b"x" * MIB)
    pipe.end()
    answer = await everything(pipe)
    assert (
        answer[:64].decode() == hashlib.sha256(b"x" * 16 * MIB).hexdigest() and len(answer) == 64 + 16 * MIB
    )
    gateway.close()


async def test_who_reads_nothing_stops_the_instance_and_fills_no_memory(world: IngressWorld) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            while sent < 256 * MIB:
                writer.write(b"x" * MIB)
                await writer.drain()
                sent += MIB
        except ConnectionError:
            pass
        writer.close()

    gateway = link(world)
    pipe = await gateway.open(call(await world.serve("db", flood)))
    await asyncio.sleep(1)
    stood_still_at = sent
    await asyncio.sleep(0.5)
    assert 0 < sent == stood_still_at < 64 * MIB
    pipe.give_up("enough")
    gateway.close()


async def test_what_cannot_be_reached_is_told_with_its_reason(world: IngressWorld) -> None:
    gateway = link(world)
    target = call(await world.serve("gone", shout))
    world.servers[-1].close()
    assert "its port does not answer" in await until_refused(await gateway.open(target))
    elsewhere = target.model_copy(update={"node_id": "nd-9"})
    assert "not connected to the ingress" in await until_refused(await gateway.open(elsewhere))
    other = target.model_copy(update={"instance_id": "in-other"})
    assert "is not on this node any more" in await until_refused(await gateway.open(other))
    gateway.close()


@pytest.mark.parametrize("service", ["logs", "agent"])
async def test_no_other_service_is_let_in(world: IngressWorld, service: str) -> None:
    stranger = link(world, service=service)
    target = call(await world.serve("db", shout))
    await until_refused(await stranger.open(target))
    assert not world.ingress.tunnels._callers and not world.ingress.calls._tasks


async def test_a_node_cannot_ask_for_an_instance(world: IngressWorld) -> None:
    context = world.tls.client("nd-7")
    node = IngressLink((world.address,), lambda: context)
    target = call(await world.serve("db", shout))
    assert "does not understand" in await until_refused(await node.open(target))
    assert not world.ingress.calls._tasks
    node.close()


async def test_a_broken_or_silent_link_is_made_anew_to_whichever_ingress_is_there(
    world: IngressWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = link(world, addresses=("127.0.0.1:1", world.address))
    target = call(await world.serve("db", shout))

    async def answers() -> None:
        pipe = await gateway.open(target)
        await pipe.send(b"hello\n")
        assert await pipe.read() == b"HELLO\n"
        pipe.give_up("enough")

    await answers()
    (caller,) = world.ingress.tunnels._callers
    caller.close()
    await world.until(lambda: not gateway._is_usable())
    await answers()
    monkeypatch.setattr("services.gateway.ingress_link.SILENT_AFTER_S", -1.0)
    await answers()
    gateway.close()


async def test_without_an_ingress_the_reason_is_told(world: IngressWorld) -> None:
    target = call(await world.serve("db", shout))
    context = world.tls.service("gateway")
    with pytest.raises(Temporary, match="has no ingress"):
        await IngressLink((), lambda: context).open(target)
    with pytest.raises(Temporary, match="No ingress can be reached"):
        await IngressLink(("127.0.0.1:1",), lambda: context).open(target)


@pytest.mark.parametrize("ends_first", [False, True])
async def test_who_gives_up_takes_the_connection_to_the_instance_along(
    world: IngressWorld, ends_first: bool
) -> None:
    """Also after a half-close, and where the instance says nothing: it would be connected to nobody for ever."""
    gone, told = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
            await told.wait()
            while not writer.is_closing():  # after an end, only who writes learns that nobody is there
                writer.write(b"still here")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            pass
        finally:
            gone.set()
            writer.close()

    gateway = link(world)
    pipe = await gateway.open(call(await world.serve("db", listen)))
    await pipe.send(b"hello")
    if ends_first:
        pipe.end()
    await asyncio.sleep(0.2)
    pipe.give_up("the client is gone")
    await world.until(lambda: not world.ingress.calls._tasks)
    await world.until(lambda: all(owner.streams == 0 for owner in world.ingress.tunnels._owners))
    told.set()
    async with asyncio.timeout(5):
        await gone.wait()
    gateway.close()
