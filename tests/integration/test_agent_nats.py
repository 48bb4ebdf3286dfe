"""The agent over a real NATS server, as a node with a node's rights and no more: documents, reports, logs, commands, a server that restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.node import AgentConfig, NodeAgent, NodeSelf, open_agent
from lattice.bus import NatsBus
from lattice.contracts.catalogue import (
    DESIRED_DOCUMENT,
    EXEC,
    HEARTBEAT,
    LOG_BLOCK,
    NODE_EVENT,
    SESSION_IN,
    SESSION_OUT,
    STATUS,
    Channel,
)
from lattice.contracts.messages import (
    DesiredDocument,
    DesiredInstance,
    ExecRequest,
    ObservedDocument,
    SessionFrame,
    SessionFrameKind,
)
from lattice.contracts.nouns import Noun, ObservedContainer, Phase
from lattice.contracts.streams import CONSUMERS, STREAMS
from lattice.ids import new_id
from lattice.messaging import Received
from lattice.sealing import new_sealing_key
from lattice.settings import BusSettings
from lattice.testing import FakeRuntime
from tests.fixtures.agent import IMAGE, eventually, instance_of, key_of
from tests.fixtures.log_shelf import Shelf
from tests.fixtures.nats import BusIdentity, NatsServer

NODE = "nd-1"


def settings_of(server: NatsServer, who: BusIdentity) -> BusSettings:
    return BusSettings(
        urls=[server.url],
        ca_file=who.ca_file,
        cert_file=who.certificate_file,
        key_file=who.key_file,
        creds_file=who.credentials_file,
        server_name="localhost",
    )


@dataclass
class Platform:
    """Everything that is not the agent, as one client that may do all."""

    bus: NatsBus
    heard: dict[str, list[Any]] = field(default_factory=dict)
    generation: int = 0

    async def listen(self, channel: Channel[Any], **tokens: str) -> None:
        kept = self.heard.setdefault(channel.name, [])

        async def hear(received: Received[Noun]) -> None:
            kept.append(received.message)

        await self.bus.subscribe(channel, hear, **tokens)

    async def want(self, *instances: DesiredInstance) -> None:
        self.generation += 1
        document = DesiredDocument(
            cluster_id="c1", node_id=NODE, era=1, generation=self.generation, instances=instances
        )
        await self.bus.append(DESIRED_DOCUMENT, document, msg_id=new_id("dd"), node_id=NODE)

    def seen(self, wanted: Callable[[ObservedContainer], bool]) -> ObservedContainer | None:
        reports: list[ObservedDocument] = self.heard["status"]
        containers = reports[-1].containers if reports else ()
        return next((each for each in containers if wanted(each)), None)


@pytest.fixture
async def platform(own_nats_server: NatsServer) -> AsyncIterator[Platform]:
    settings = settings_of(own_nats_server, own_nats_server.service("registry"))
    async with NatsBus(settings, identity="registry") as bus:
        await eventually(lambda: bus.connected)
        await bus.ensure_topology(STREAMS, CONSUMERS)
        platform = Platform(bus)
        for channel in (STATUS, HEARTBEAT, NODE_EVENT, LOG_BLOCK, SESSION_OUT):
            await platform.listen(channel)
        yield platform


@asynccontextmanager
async def running_agent(server: NatsServer, runtime: FakeRuntime, folder: Path) -> AsyncIterator[NodeAgent]:
    settings = settings_of(server, server.node(NODE))
    config = AgentConfig(data_dir=folder / "data", files_root=folder / "files", heartbeat_s=0.1, ping_s=0.2)
    who = NodeSelf(NODE, "c1", new_sealing_key())
    async with (
        NatsBus(settings, identity=NODE) as bus,
        open_agent(who, config, bus=bus, runtime=runtime) as agent,
    ):
        yield agent


def is_running(epoch: int) -> Callable[[ObservedContainer], bool]:
    return lambda each: each.key.epoch == epoch and each.phase is Phase.RUNNING


async def test_everything_a_node_says_and_hears_is_within_its_rights(
    own_nats_server: NatsServer, platform: Platform, tmp_path: Path
) -> None:
    runtime = FakeRuntime(images=(IMAGE,))
    await platform.want(instance_of(key_of(1)))
    async with running_agent(own_nats_server, runtime, tmp_path):
        await eventually(lambda: platform.seen(is_running(1)))  # fetched at connect
        await platform.want(instance_of(key_of(2)))
        await eventually(lambda: platform.seen(is_running(2)))  # pushed
        await eventually(lambda: platform.heard["heartbeat"])
        name = key_of(2).container_name("c1")
        runtime.write(name, "hello")
        block = (await eventually(lambda: platform.heard["log_block"]))[0]
        assert (block.node_id, block.workload_id, block.first, block.last) == (NODE, "wl-1", 1, 1)
        runtime.end(name, exit_code=3)
        await eventually(lambda: [e for e in platform.heard["node_event"] if e.type == "exit"])
        await eventually(lambda: platform.seen(lambda each: is_running(2)(each) and each.restarts == 1))
        request = ExecRequest(session_id=new_id("ex"), key=key_of(2), argv=("cat",), stdin=True)
        await platform.bus.ask(EXEC, request, node_id=NODE)
        for number, kind in enumerate([SessionFrameKind.STDIN, SessionFrameKind.STDIN_CLOSED], start=1):
            frame = SessionFrame(session_id=request.session_id, kind=kind, number=number)
            body = b"typed" if kind is SessionFrameKind.STDIN else b""
            await platform.bus.publish(
                SESSION_IN, frame, body=body, node_id=NODE, session_id=request.session_id
            )
        frames = await eventually(
            lambda: [f for f in platform.heard["session_out"] if f.kind is SessionFrameKind.EXIT]
        )
        assert frames[0].exit_code == 0


async def test_a_server_that_restarts_or_loses_everything_stops_no_container(
    own_nats_server: NatsServer, platform: Platform, tmp_path: Path
) -> None:
    runtime = FakeRuntime(images=(IMAGE,))
    async with running_agent(own_nats_server, runtime, tmp_path) as agent:
        await platform.want(instance_of(key_of(1)))
        before = await eventually(lambda: platform.seen(is_running(1)))
        own_nats_server.kill()
        own_nats_server.erase_store()
        await eventually(lambda: not platform.bus.connected)
        runtime.calls.clear()
        platform.heard[
            "status"
        ].clear()  # before the agent can report again: its next report is half a minute later
        own_nats_server.start()
        await eventually(lambda: platform.bus.connected)
        await platform.bus.ensure_topology(STREAMS, CONSUMERS)
        after = await eventually(lambda: platform.seen(is_running(1)))
        assert (after.container_id, after.started_at) == (before.container_id, before.started_at)
        assert not {"stop", "remove", "create", "start"} & {call for call, _ in runtime.calls}
        assert agent.journal.document is not None and agent.journal.document.generation == 1
        await platform.want(instance_of(key_of(2)))
        await eventually(lambda: platform.seen(is_running(2)))


async def test_logs_are_let_go_when_the_store_has_them(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """With the rights of a node on one side and of the log store on the other."""
    runtime = FakeRuntime(images=(IMAGE,), logs_root=tmp_path / "engine")
    settings, name = (
        settings_of(own_nats_server, own_nats_server.service("logs")),
        key_of(1).container_name("c1"),
    )
    registry = settings_of(own_nats_server, own_nats_server.service("registry"))
    async with NatsBus(settings, identity="logs") as logs, NatsBus(registry, identity="registry") as bus:
        await eventually(lambda: logs.connected and bus.connected)
        await bus.ensure_topology(STREAMS, CONSUMERS)
        shelf = Shelf(logs, NODE)
        await shelf.start()
        await Platform(bus).want(instance_of(key_of(1)))
        async with running_agent(own_nats_server, runtime, tmp_path) as agent:
            await eventually(lambda: ("start", name) in runtime.calls)
            for number in range(1000):
                runtime.write(name, f"{number}", time_ns=number + 1)
            await eventually(lambda: len(shelf.all_lines) == 1000 and agent.logs.spool.is_empty)
            shelf.silent = True
            runtime.write(name, "1000", time_ns=2000)
            await eventually(lambda: len(shelf.all_lines) == 1001)
            await eventually(lambda: shelf.asked and agent.logs.spool.is_empty)
