"""The bus in memory misbehaves when it is told to; what it promises otherwise is in tests/contract/test_bus.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lattice.contracts import messages as m
from lattice.contracts.catalogue import DESIRED_DOCUMENT, HEARTBEAT, PLACEMENT_WANTED, RESYNC
from lattice.contracts.streams import SCHED, SCHED_BY_SCHEDULER
from lattice.errors import Invalid, Temporary
from lattice.messaging import Received
from lattice.testing import ManualClock, MemoryBroker, MemoryBus


class Inbox:
    def __init__(self) -> None:
        self.got: list[Any] = []

    async def __call__(self, received: Received[Any]) -> None:
        self.got.append(received.message)


def heartbeat(session: int) -> m.Heartbeat:
    return m.Heartbeat(node_id="nd-1", boot_id="b", session=session, agent_version="1")


async def say(bus: MemoryBus, session: int) -> None:
    await bus.publish(HEARTBEAT, heartbeat(session), node_id="nd-1")


async def want(bus: MemoryBus, workload_id: str) -> None:
    wanted = m.PlacementWanted(workload_id=workload_id)
    await bus.append(PLACEMENT_WANTED, wanted, msg_id=workload_id, workload_id=workload_id)


async def test_without_a_link_nothing_is_sent_and_nothing_heard() -> None:
    broker = MemoryBroker(ManualClock())
    here, there, inbox = MemoryBus(broker), MemoryBus(broker), Inbox()
    await here.subscribe(HEARTBEAT, inbox)
    here.disconnect()
    assert not here.connected
    assert await here.ready() == "no link to NATS"
    document = m.DesiredDocument(cluster_id="c", node_id="nd-1", era=1, generation=1)
    with pytest.raises(Temporary):
        await say(here, 1)
    with pytest.raises(Temporary):
        await want(here, "wl-1")
    with pytest.raises(Temporary):
        await here.ask(RESYNC, m.Resync(), node_id="nd-1")
    with pytest.raises(Temporary):
        await here.append_newest(DESIRED_DOCUMENT, document, order=lambda it: it.order, node_id="nd-1")
    with pytest.raises(Temporary):
        await here.lease("role", "a", ttl_s=1)
    await say(there, 2)
    await here.reconnect()
    await say(there, 3)
    await there.settle()
    assert inbox.got == [heartbeat(3)]


async def test_a_reconnect_tells_whoever_asked() -> None:
    bus, told = MemoryBus(), []

    async def on_connected() -> None:
        told.append(1)

    bus.on_connected(on_connected)
    await asyncio.sleep(0)
    bus.disconnect()
    await bus.reconnect()
    assert told == [1, 1]


async def test_a_consumer_goes_on_after_a_reconnect() -> None:
    broker = MemoryBroker(ManualClock())
    here, there, inbox = MemoryBus(broker), MemoryBus(broker), Inbox()
    await here.consume(SCHED_BY_SCHEDULER, PLACEMENT_WANTED, inbox)
    here.disconnect()
    await want(there, "wl-1")
    await asyncio.sleep(0)
    assert inbox.got == []
    await here.reconnect()
    await there.settle()
    assert inbox.got == [m.PlacementWanted(workload_id="wl-1")]


async def test_every_message_may_come_twice() -> None:
    bus, heard, worked = MemoryBus(), Inbox(), Inbox()
    bus.broker.duplicates = True
    await bus.subscribe(HEARTBEAT, heard)
    await bus.consume(SCHED_BY_SCHEDULER, PLACEMENT_WANTED, worked)
    await say(bus, 1)
    await want(bus, "wl-1")
    await bus.settle()
    assert heard.got == [heartbeat(1)] * 2
    assert worked.got == [m.PlacementWanted(workload_id="wl-1")] * 2


async def reordered(seed: int) -> list[int]:
    bus, inbox = MemoryBus(seed=seed), Inbox()
    bus.broker.reorder = True
    await bus.subscribe(HEARTBEAT, inbox)
    bus.disconnect()
    await bus.reconnect()
    await asyncio.gather(*(say(bus, number) for number in range(20)))
    await bus.settle()
    return [message.session for message in inbox.got]


async def test_messages_may_come_in_another_order_that_repeats() -> None:
    first = await reordered(seed=1)
    assert sorted(first) == list(range(20))
    assert first != list(range(20))
    assert await reordered(seed=1) == first


async def test_an_acknowledgement_may_be_lost() -> None:
    bus, inbox = MemoryBus(), Inbox()
    bus.lose_acks = 1
    with pytest.raises(Temporary):
        await want(bus, "wl-1")
    await want(bus, "wl-1")
    await bus.consume(SCHED_BY_SCHEDULER, PLACEMENT_WANTED, inbox)
    await bus.settle()
    assert len(inbox.got) == 1


async def test_the_duplicate_window_ends() -> None:
    clock = ManualClock()
    bus = MemoryBus(clock=clock)
    await want(bus, "wl-1")
    clock.advance(SCHED.duplicate_window_s)
    await want(bus, "wl-1")
    assert len(bus.broker.stream(SCHED).entries) == 2


async def test_dead_letters_and_what_was_said_can_be_looked_at() -> None:
    bus = MemoryBus()

    async def refuse(_: Received[m.PlacementWanted]) -> None:
        raise Invalid("no")

    await bus.consume(SCHED_BY_SCHEDULER, PLACEMENT_WANTED, refuse)
    await want(bus, "wl-1")
    await bus.settle()
    [letter] = bus.dead_letters
    assert (letter.stream, letter.consumer, letter.subject) == ("SCHED", "scheduler", "lattice.sched.wl-1")
    assert bus.sent(PLACEMENT_WANTED) == [m.PlacementWanted(workload_id="wl-1")]


async def test_settling_names_what_is_still_busy() -> None:
    bus, release = MemoryBus(), asyncio.Event()

    async def slow(_: Received[m.PlacementWanted]) -> None:
        await release.wait()

    consuming = await bus.consume(SCHED_BY_SCHEDULER, PLACEMENT_WANTED, slow)
    await want(bus, "wl-1")
    with pytest.raises(TimeoutError, match="scheduler"):
        await bus.settle(timeout_s=0.05)
    release.set()
    await consuming.stop()
