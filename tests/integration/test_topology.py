"""Streams and consumers as declared: on an empty server, on one that lost everything, on one that has other settings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from lattice.bus import NatsBus
from lattice.bus_topology import consumer_config, stream_config
from lattice.contracts import messages as m
from lattice.contracts.catalogue import DESIRED_DOCUMENT, PLACEMENT_WANTED
from lattice.contracts.permissions import service_permissions
from lattice.contracts.streams import (
    CONSUMERS,
    DESIRED,
    EVENTS,
    LOGS,
    NODE_EVENTS_BY_REGISTRY,
    SCHED_BY_SCHEDULER,
    STREAMS,
)
from lattice.errors import Temporary
from lattice.messaging import Received
from lattice.settings import BusSettings
from tests.fixtures.nats import NatsServer

WAIT_S = 20.0


@asynccontextmanager
async def registry(server: NatsServer) -> AsyncIterator[NatsBus]:
    """With the registry's own credential: what it may not do, it must not need."""
    who = server.service("registry", service_permissions("registry"))
    settings = BusSettings(
        urls=[server.url], ca_file=who.ca_file, cert_file=who.certificate_file, key_file=who.key_file,
        creds_file=who.credentials_file, server_name="localhost",
    )  # fmt: skip
    async with NatsBus(settings, identity="registry") as bus:
        await until(lambda: bus.connected)
        yield bus


async def until(wanted: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not wanted():
            await asyncio.sleep(0.01)


async def info(bus: NatsBus, what: str) -> dict[str, Any]:
    """What the server says it has."""
    reply = await bus._requests.ask(f"$JS.API.{what}", timeout_s=5)
    said: dict[str, Any] = json.loads(reply.payload)
    assert "error" not in said, said
    return said


def agree(declared: dict[str, Any], there: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Where the server has something else than declared; what is off is left out of its answer."""
    return {
        name: (value, there.get(name))
        for name, value in declared.items()
        if there.get(name, type(value)()) != value and not (value in (-1, 0, False) and name not in there)
    }


async def test_everything_is_made_as_declared(own_nats_server: NatsServer) -> None:
    async with registry(own_nats_server) as bus:
        await bus.ensure_topology(STREAMS, CONSUMERS)
        for stream in STREAMS:
            there = (await info(bus, f"STREAM.INFO.{stream.name}"))["config"]
            assert agree(stream_config(stream, replicas=1), there) == {}, stream.name
        for consumer in CONSUMERS:
            there = (await info(bus, f"CONSUMER.INFO.{consumer.stream}.{consumer.durable}"))["config"]
            wanted = consumer_config(consumer)
            if len(consumer.filter_subjects) == 1 and "filter_subject" in there:
                wanted["filter_subject"] = wanted.pop("filter_subjects")[0]
            assert agree(wanted, there) == {}, consumer.durable


async def test_ensuring_again_keeps_messages_and_positions(own_nats_server: NatsServer) -> None:
    async with registry(own_nats_server) as bus:
        await bus.ensure_topology(STREAMS, CONSUMERS)
        await put(bus, 1)
        await bus.ensure_topology(STREAMS, CONSUMERS)
        newest = await bus.last(DESIRED_DOCUMENT, node_id="nd-1")
        assert newest is not None
        assert (await info(bus, "STREAM.INFO.DESIRED"))["state"]["messages"] == 1


async def put(bus: NatsBus, generation: int) -> bool:
    document = m.DesiredDocument(cluster_id="c", node_id="nd-1", era=1, generation=generation)
    return await bus.append_newest(DESIRED_DOCUMENT, document, order=lambda it: it.order, node_id="nd-1")


async def test_a_changed_setting_is_changed_there(own_nats_server: NatsServer) -> None:
    async with registry(own_nats_server) as bus:
        await bus.ensure_topology(STREAMS, CONSUMERS)
        await put(bus, 1)
        await bus.ensure_topology(
            [replace(DESIRED, max_bytes=2**20, meaning="other")],
            [replace(NODE_EVENTS_BY_REGISTRY, max_ack_pending=7)],
        )
        there = await info(bus, "STREAM.INFO.DESIRED")
        assert (there["config"]["max_bytes"], there["state"]["messages"]) == (2**20, 1)
        consumer = await info(bus, "CONSUMER.INFO.NODE_EVENTS.registry-node-events")
        assert consumer["config"]["max_ack_pending"] == 7


async def test_a_change_that_would_lose_messages_is_refused(own_nats_server: NatsServer) -> None:
    async with registry(own_nats_server) as bus:
        await bus.ensure_topology(STREAMS, CONSUMERS)
        await put(bus, 1)
        with pytest.raises(Temporary, match="stream"):
            await bus.ensure_topology([replace(DESIRED, work_queue=True)], [])
        assert (await info(bus, "STREAM.INFO.DESIRED"))["state"]["messages"] == 1


async def test_an_erased_store_comes_back(own_nats_server: NatsServer) -> None:
    """No number from before the loss stands in the way: the same process goes on with an empty store."""
    got: list[str] = []
    ensured: list[str] = []

    async def note(received: Received[m.PlacementWanted]) -> None:
        got.append(received.message.workload_id)

    async def ensure() -> None:
        await bus.ensure_topology(STREAMS, CONSUMERS)
        ensured.append("all streams are there")

    async with registry(own_nats_server) as bus, scheduler(own_nats_server) as worker:
        bus.on_connected(ensure)
        await until(lambda: len(ensured) == 1)
        await worker.consume(SCHED_BY_SCHEDULER, PLACEMENT_WANTED, note)
        for generation in range(1, 30):
            assert await put(bus, generation)
        await asyncio.to_thread(own_nats_server.kill)
        own_nats_server.erase_store()
        await asyncio.to_thread(own_nats_server.start)
        await until(lambda: bus.connected and worker.connected and len(ensured) == 2)
        # The same document again: the relay does not know that it was lost.
        assert await put(bus, 29)
        assert not await put(bus, 28)
        assert await put(bus, 30)
        wanted = m.PlacementWanted(workload_id="wl-1")
        await bus.append(PLACEMENT_WANTED, wanted, msg_id="w-1", workload_id="wl-1")
        await until(lambda: got == ["wl-1"])


@asynccontextmanager
async def scheduler(server: NatsServer) -> AsyncIterator[NatsBus]:
    who = server.service("scheduler", service_permissions("scheduler"))
    settings = BusSettings(
        urls=[server.url], ca_file=who.ca_file, cert_file=who.certificate_file, key_file=who.key_file,
        creds_file=who.credentials_file, server_name="localhost",
    )  # fmt: skip
    async with NatsBus(settings, identity="scheduler") as bus:
        await until(lambda: bus.connected)
        yield bus


def test_only_logs_are_written_without_waiting_for_the_disk() -> None:
    configs = {stream.name: stream_config(stream, replicas=3) for stream in STREAMS}
    assert [name for name, config in configs.items() if "persist_mode" in config] == [LOGS.name]
    assert configs[LOGS.name]["num_replicas"] == 1
    assert configs[EVENTS.name]["num_replicas"] == 3


def test_consumers_name_their_streams_and_subjects() -> None:
    streams = {stream.name for stream in STREAMS}
    assert {consumer.stream for consumer in CONSUMERS} <= streams
    for consumer in CONSUMERS:
        assert consumer.max_deliver > len(consumer.backoff_s), "the server refuses a longer backoff"
