"""What nobody can handle ends where people find it: on the real server and, alike, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lattice.bus import NatsBus
from lattice.contracts import messages as m
from lattice.contracts.catalogue import DEAD_LETTER, NODE_EVENT, PLACEMENT_WANTED
from lattice.contracts.streams import (
    ADVISORIES_BY_REGISTRY,
    CONSUMERS,
    DLQ,
    NODE_EVENTS_BY_REGISTRY,
    OBSERVED,
    SCHED,
    SCHED_BY_SCHEDULER,
    STREAMS,
    Consumer,
)
from lattice.dead_letters import REPLACED, DeadLetterMover, is_replaced, letter_for
from lattice.errors import Invalid
from lattice.messaging import Bus, Received
from lattice.settings import BusSettings
from lattice.testing import MemoryBus
from tests.fixtures.nats import NatsServer

WAIT_S = 20.0


@pytest.fixture(params=["memory", "nats"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "memory":
        made: Bus = MemoryBus()
        await made.ensure_topology(STREAMS, CONSUMERS)
        yield made
        return
    server: NatsServer = request.getfixturevalue("own_nats_server")
    who = server.service("registry")
    settings = BusSettings(
        urls=[server.url], ca_file=who.ca_file, cert_file=who.certificate_file, key_file=who.key_file,
        creds_file=who.credentials_file, server_name="localhost",
    )  # fmt: skip
    async with NatsBus(settings, identity="registry") as real:
        await until(lambda: real.connected)
        await real.ensure_topology(STREAMS, CONSUMERS)
        yield real


async def until(wanted: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not wanted():
            await asyncio.sleep(0.01)


class Letters:
    """The dead letters, as somebody who looks into the stream sees them."""

    def __init__(self) -> None:
        self.got: list[Received[m.DeadLetter]] = []

    async def __call__(self, received: Received[m.DeadLetter]) -> None:
        self.got.append(received)


LOOK = Consumer(stream=DLQ.name, durable="look", owner="people", filter_subjects=(DLQ.subjects[0],))


@pytest.fixture
async def letters(bus: Bus) -> Letters:
    found = Letters()
    await bus.ensure_topology([], [LOOK])
    await bus.consume(LOOK, DEAD_LETTER, found)
    return found


async def refuse(_: Received[Any]) -> None:
    raise Invalid("It names an instance that never was.")


async def report_event(bus: Bus, msg_id: str) -> None:
    event = m.NodeEvent(node_id="nd-1", type="oom", at="2030-01-01T00:00:00Z", detail="killed")
    await bus.append(NODE_EVENT, event, msg_id=msg_id, node_id="nd-1", type="oom")


async def test_a_refused_message_is_kept_with_its_reason(bus: Bus, letters: Letters) -> None:
    moved: list[m.DeadLetter] = []

    async def on_moved(letter: m.DeadLetter) -> None:
        moved.append(letter)

    await DeadLetterMover(bus, on_moved=on_moved).start()
    await bus.consume(NODE_EVENTS_BY_REGISTRY, NODE_EVENT, refuse)
    await report_event(bus, "e-1")
    await until(lambda: letters.got and moved)
    [letter] = letters.got
    assert letter.subject == "lattice.dlq.NODE_EVENTS.registry-node-events"
    assert letter.message.subject == "lattice.node.nd-1.event.oom"
    assert letter.message.reason.endswith("Invalid: It names an instance that never was.")
    assert m.NodeEvent.model_validate_json(letter.body).detail == "killed"
    assert moved == [letter.message]


async def test_what_a_work_queue_forgot_is_still_named(bus: Bus, letters: Letters) -> None:
    await DeadLetterMover(bus).start()
    await bus.consume(SCHED_BY_SCHEDULER, PLACEMENT_WANTED, refuse)
    await bus.append(
        PLACEMENT_WANTED, m.PlacementWanted(workload_id="wl-1"), msg_id="w-1", workload_id="wl-1"
    )
    await until(lambda: letters.got)
    [letter] = letters.got
    assert letter.message.reason.startswith("lattice.sched.wl-1: ")
    assert letter.body == b""


async def test_a_mover_that_starts_later_misses_none_and_doubles_none(bus: Bus, letters: Letters) -> None:
    await bus.consume(NODE_EVENTS_BY_REGISTRY, NODE_EVENT, refuse)
    for number in range(5):
        await report_event(bus, f"e-{number}")
    failed: list[m.DeadLetter] = []

    async def fails_once(letter: m.DeadLetter) -> None:
        if letter not in failed:
            failed.append(letter)
            raise RuntimeError("crashed before the acknowledgement")

    await DeadLetterMover(bus, on_moved=fails_once).start()
    await until(lambda: len(failed) == 5)
    await until(lambda: len(letters.got) == 5)
    assert len({letter.message.stream_seq for letter in letters.got}) == 5


def test_a_letter_says_when_deliveries_were_used_up() -> None:
    advisory = m.GivenUp(stream="S", consumer="c", stream_seq=3, deliveries=8)
    assert letter_for(advisory, None).reason == "its deliveries were used up"


def test_a_document_in_whose_place_a_newer_one_came_is_no_dead_letter() -> None:
    advisory = m.GivenUp(stream="OBSERVED", consumer="registry-observed", stream_seq=1, reason=REPLACED)
    assert is_replaced(advisory, OBSERVED)
    assert not is_replaced(advisory, SCHED), "a work queue loses it"
    assert not is_replaced(advisory.model_copy(update={"reason": "Invalid: no document"}), OBSERVED)


def test_the_mover_has_a_consumer_of_the_catalogue() -> None:
    assert ADVISORIES_BY_REGISTRY in CONSUMERS
