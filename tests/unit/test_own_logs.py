"""What the platform says of itself, on its way into the log store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from lattice import log_records
from lattice.clock import SystemClock
from lattice.contracts.catalogue import LOG_BLOCK, SERVICE_LOG
from lattice.contracts.messages import LogBlock
from lattice.messaging import Received
from lattice.own_logs import Kept, OwnLogs, Part
from lattice.testing import MemoryBroker, MemoryBus

PART = Part("registry", "c0ffee")


def record(number: int) -> bytes:
    return log_records.record(1_000 * number, "stderr", f"line {number}\n")


class Shelf:
    """What arrived, by number."""

    def __init__(self) -> None:
        self.lines: dict[int, str] = {}
        self.lost: list[tuple[int, int]] = []

    async def take(self, received: Received[LogBlock]) -> None:
        about = received.message
        if about.gap is not None:
            self.lost.append((about.first, about.last))
            assert received.body == b"" and about.gap.lines == about.last - about.first + 1
            return
        for line in log_records.lines(log_records.unpack(received.body), about.first):
            assert self.lines.setdefault(line.number, line.text) == line.text


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus(MemoryBroker(SystemClock()))


@asynccontextmanager
async def sending(own: OwnLogs) -> AsyncIterator[None]:
    task = asyncio.create_task(own.run())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_service_sends_what_it_logs_until_its_last_words(bus: MemoryBus) -> None:
    shelf = Shelf()
    await bus.subscribe(SERVICE_LOG, shelf.take)
    async with sending(OwnLogs(PART, bus)):
        logger.bind(request_id="rq-1").warning("the disk is {}", "full")
        logger.debug("not worth it")
    await bus.settle()
    (text,) = shelf.lines.values()
    assert '"level": "warning"' in text and '"request_id": "rq-1"' in text and "the disk is full" in text
    logger.warning("nobody listens any more")
    assert bus.sent(SERVICE_LOG)[-1].last == 1


async def test_an_agent_sends_under_its_own_node(bus: MemoryBus) -> None:
    shelf = Shelf()
    await bus.subscribe(LOG_BLOCK, shelf.take, node_id="nd-1", workload_id="agent")
    async with sending(OwnLogs.of_agent("nd-1", bus)):
        logger.info("hello")
    await bus.settle()
    assert len(shelf.lines) == 1


async def test_what_has_no_room_is_told_as_a_gap(bus: MemoryBus) -> None:
    shelf = Shelf()
    await bus.subscribe(SERVICE_LOG, shelf.take)
    own = OwnLogs(PART, bus)
    own.kept.room_bytes = 3 * len(record(1))
    bus.disconnect()
    for number in range(1, 9):
        own.kept.add(record(number))
    assert not await own._send_all()
    await bus.reconnect()
    assert await own._send_all()
    await bus.settle()
    assert shelf.lost == [(1, 5)]
    assert shelf.lines == {number: f"line {number}" for number in (6, 7, 8)}
    own.kept.add(record(9))
    await own._send_all()
    await bus.settle()
    assert shelf.lost == [(1, 5)] and shelf.lines[9] == "line 9"


@given(st.lists(st.sampled_from(["add", "send", "tell"]), max_size=60), st.integers(1, 5))
def test_each_line_is_sent_or_told_as_lost_and_never_both(acts: list[str], room: int) -> None:
    kept, told = Kept(room_bytes=room * 100), dict[int, str]()
    added = 0

    def note(first: int, last: int, what: str) -> None:
        for number in range(first, last + 1):
            assert number not in told
            told[number] = what

    for act in [*acts, *["tell", "send"] * 60]:
        if act == "add":
            added += 1
            kept.add(record(added).ljust(100))
        if act == "send" and (waiting := kept.oldest()) is not None:
            first, records = waiting
            note(first, first + len(records) // 100 - 1, "sent")
            kept.sent(first, first + len(records) // 100 - 1)
        if act == "tell" and (lost := kept.lost()) is not None:
            note(*lost, "lost")
            kept.lost_is_told(lost[1])
    assert sorted(told) == list(range(1, added + 1))


def test_what_made_room_while_it_was_being_sent_is_not_lost() -> None:
    kept = Kept(room_bytes=3 * len(record(1)))
    for number in (1, 2):
        kept.add(record(number))
    assert kept.oldest() is not None
    for number in (3, 4, 5):
        kept.add(record(number))  # 1 and 2 go
    kept.sent(1, 2)
    assert kept.lost() is None
