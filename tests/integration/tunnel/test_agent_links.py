"""The node's end of links: who may come in is known by their address, and led to the same node first, else through the tunnel."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.journal import Journal
from agent.link_labels import link_label
from agent.links import Links
from agent.naming import container_labels
from agent.world import World
from lattice.cancelling import cancel_and_wait
from lattice.contracts.messages import DesiredDocument, DesiredInstance, LinkCall, RunLink, RunLinkPort
from lattice.contracts.nouns import ContainerKey
from lattice.errors import NotFound, Temporary
from lattice.runtime import Container, PortTaken, RunState
from lattice.testing import FakeRuntime
from lattice.tunnel_stream import TunnelStream
from tests.fixtures.agent import instance_of

NODE_ADDRESS = "127.30.0.1"
HERE = "127.0.0.1"  # where these tests call from
NETWORK = "lattice-c1-default"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((NODE_ADDRESS, 0))
        return int(listener.getsockname()[1])


class Bench:
    """The links of one node, over a world that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder)
        self.journal.begin_session(datetime.now(UTC))
        self.world = World(FakeRuntime(), "c1")
        self.ready: dict[tuple[str, str, int], int] = {}
        self.calls: list[LinkCall] = []
        self.generation = 0
        self.port = free_port()
        self.links = Links(
            self.journal, self.world, "c1", ready_here=self._ready, open_stream=self._open
        )  # fmt: skip

    def _ready(self, project: str, workload: str, port: int) -> int | None:
        return self.ready.get((project, workload, port))

    async def _open(self, call: LinkCall) -> TunnelStream:
        self.calls.append(call)
        raise Temporary("no tunnel in this test")

    def instance(self, *, workload: str = "db", port: int = 5432) -> DesiredInstance:
        link = RunLink(
            workload=workload, hosts=(workload,), ports=(RunLinkPort(at=self.port, container_port=port),)
        )
        return instance_of(ContainerKey(workload_id="wl-app", slot=0, epoch=1), links=(link,))

    def container(self, instance: DesiredInstance, *, at: str = HERE, node: str = NODE_ADDRESS) -> Container:
        """The instance's container, which comes from this address and knows the node by that one."""
        labels = container_labels("c1", instance) | link_label(node, instance.run.links)
        return Container(
            id="c", name="app", image_id="i", labels=labels, state=RunState.RUNNING, addresses={NETWORK: at}
        )  # fmt: skip

    async def know(self, *instances: DesiredInstance) -> None:
        self.generation += 1
        document = DesiredDocument(
            cluster_id="c1", node_id="nd-1", era=1, generation=self.generation, instances=instances
        )
        assert await self.journal.accept(document)

    async def listen(self, instance: DesiredInstance) -> None:
        """What is done before the container is started."""
        await self.know(instance)
        await self.links.listen(self.container(instance))

    async def show(self, container: Container | None) -> None:
        """Let this be what is seen on the Engine."""

        async def shown() -> Container | None:
            return container

        await self.world.act("app", shown())

    async def run_container(self, instance: DesiredInstance, *, address: str = HERE) -> None:
        await self.show(self.container(instance, at=address))

    async def call(self, said: bytes = b"hello\n") -> bytes:
        """What is answered, to the end; raises ConnectionError where it is broken off."""
        reader, writer = await asyncio.open_connection(NODE_ADDRESS, self.port)
        try:
            writer.write(said)
            writer.write_eof()
            async with asyncio.timeout(5):
                return await reader.read()
        finally:
            writer.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    task = asyncio.create_task(bench.links.run())
    await asyncio.sleep(0)
    yield bench
    await cancel_and_wait([task])


async def shouting(seen: Callable[[bytes], None] = lambda _: None) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.read()
        seen(said)
        writer.write(said.upper())
        await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def test_a_container_is_led_to_an_instance_on_its_own_node(bench: Bench) -> None:
    instance = bench.instance()
    await bench.listen(instance)
    await bench.run_container(instance)
    async with await shouting() as server:
        bench.ready["default", "db", 5432] = port_of(server)
        assert await bench.call(b"hello") == b"HELLO"
        assert await bench.call(b"x" * 2**22) == b"X" * 2**22, "much, and the end is told apart"
    assert bench.calls == []


async def test_else_an_ingress_is_asked_and_who_asks_is_told(bench: Bench) -> None:
    instance = bench.instance()
    await bench.listen(instance)
    await bench.run_container(instance)
    with pytest.raises(ConnectionError):
        await bench.call()
    (call,) = bench.calls
    assert (call.instance_id, call.project, call.workload_name, call.container_port) == (
        instance.instance_id, "default", "db", 5432,
    )  # fmt: skip


async def test_a_stranger_is_turned_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody on the same network whose instance has no such link, or who is no container at all."""
    monkeypatch.setattr("agent.links._KNOWN_WITHIN_S", 0.2)
    instance = bench.instance()
    await bench.listen(instance)
    await bench.run_container(instance, address="127.0.0.9")
    with pytest.raises(ConnectionError):
        await bench.call()
    assert bench.calls == []


async def test_a_container_that_calls_before_it_was_looked_at_is_waited_for(bench: Bench) -> None:
    instance = bench.instance()
    await bench.listen(instance)
    async with await shouting() as server:
        bench.ready["default", "db", 5432] = port_of(server)
        calling = asyncio.create_task(bench.call(b"early"))
        await asyncio.sleep(0.2)
        await bench.run_container(instance)
        assert await calling == b"EARLY"


async def test_after_a_start_of_the_agent_doors_are_open_again_and_closed_when_nobody_needs_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.links._LOOK_EVERY_S", 0.05)
    bench.world.complete = True
    instance = bench.instance()
    await bench.know(instance)
    await bench.run_container(instance)
    async with asyncio.timeout(10):
        while not bench.links._servers:
            await asyncio.sleep(0.05)
        await bench.know()
        await bench.show(None)
        while bench.links._servers:
            await asyncio.sleep(0.05)
    with pytest.raises(ConnectionRefusedError):
        await bench.call()


async def test_who_runs_calls_whatever_is_wanted_of_it_by_now(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is being stopped, or its successor's image is fetched, it has the same need of its database."""
    monkeypatch.setattr("agent.links._LOOK_EVERY_S", 0.05)
    bench.world.complete = True
    instance = bench.instance()
    await bench.listen(instance)
    await bench.run_container(instance)
    await bench.know()
    await asyncio.sleep(0.3)
    async with await shouting() as server:
        bench.ready["default", "db", 5432] = port_of(server)
        assert await bench.call(b"hello") == b"HELLO"


async def test_while_the_engine_is_away_nothing_is_closed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.links._LOOK_EVERY_S", 0.05)
    await bench.listen(bench.instance())
    await bench.know()
    await asyncio.sleep(0.3)
    assert bench.links._servers


async def test_where_the_network_was_made_anew_the_container_has_to_be_too(bench: Bench) -> None:
    with pytest.raises(NotFound, match="made anew"):
        await bench.links.listen(bench.container(bench.instance(), node="203.0.113.9"))


async def test_an_instance_of_this_node_that_has_just_ended_is_not_the_only_one(bench: Bench) -> None:
    instance = bench.instance()
    await bench.listen(instance)
    await bench.run_container(instance)
    bench.ready["default", "db", 5432] = free_port()
    with pytest.raises(ConnectionError):
        await bench.call()
    assert len(bench.calls) == 1


async def test_strangers_are_not_waited_for_without_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.links._MOST_UNKNOWN", 2)
    await bench.listen(bench.instance())
    began_s = asyncio.get_running_loop().time()
    calls = [asyncio.create_task(bench.call()) for _ in range(20)]
    done, _ = await asyncio.wait(calls, timeout=1.5)
    assert len(done) == 18, "two are waited for, as they may be known soon"
    await asyncio.wait(calls)
    assert asyncio.get_running_loop().time() - began_s < 5
    assert all(isinstance(each.exception(), ConnectionError) for each in calls)


async def test_who_hangs_up_while_it_is_waited_for_leaves_nothing(bench: Bench) -> None:
    await bench.listen(bench.instance())
    _, writer = await asyncio.open_connection(NODE_ADDRESS, bench.port)
    await asyncio.sleep(0.1)
    writer.transport.abort()
    async with asyncio.timeout(5):
        while bench.links._leading:
            await asyncio.sleep(0.05)


async def test_a_port_that_a_program_has_on_all_addresses_is_told_with_who_has_it(bench: Bench) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        bench.port = listener.getsockname()[1]
        with pytest.raises(PortTaken, match=r"in use on all addresses of this node by process \d+ .*`at`"):
            await bench.listen(bench.instance())


@pytest.mark.parametrize("breaks", ["caller", "server"])
async def test_who_breaks_off_breaks_the_other_side(bench: Bench, breaks: str) -> None:
    instance = bench.instance()
    await bench.listen(instance)
    await bench.run_container(instance)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(5)
            if breaks == "server":
                writer.transport.abort()
            else:
                await reader.read()
        except ConnectionError:
            pass
        ended.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        bench.ready["default", "db", 5432] = port_of(server)
        reader, writer = await asyncio.open_connection(NODE_ADDRESS, bench.port)
        writer.write(b"hello")
        if breaks == "caller":
            await asyncio.sleep(0.1)
            writer.transport.abort()
        else:
            async with asyncio.timeout(5):
                with suppress(ConnectionError):
                    assert await reader.read() == b""
        async with asyncio.timeout(5):
            await ended.wait()
        writer.close()
