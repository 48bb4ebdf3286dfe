"""Between a node's spool and the log store, on virtual time: nothing is let go before it is stored, nothing is forgotten, nothing floods."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.log_sending import WINDOW_BYTES, LogSending
from agent.log_spool import LogSpool
from agent.node_events import NodeEvents
from lattice.background import Background
from lattice.contracts.catalogue import LOG_BLOCK, LOGS_HELD, NODE_EVENT
from lattice.contracts.messages import LogBlock
from lattice.contracts.messages.log_blocks import MOST_RANGES
from lattice.ids import new_id
from lattice.messaging import Stored
from lattice.testing.bus import MemoryBus
from tests.fixtures.log_shelf import Shelf
from tests.simulation.time import LoopClock, run_in_virtual_time
from tests.unit.test_agent_log_spool import Writer

NODE = "nd-1"


class Scene:
    """A spool, the link, and the store."""

    def __init__(self, folder: Path, *, most_bytes: int = 2**20) -> None:
        self.bus = MemoryBus(clock=LoopClock())
        self.shelf = Shelf(self.bus, NODE)
        self.spool = LogSpool(folder, most_bytes=most_bytes)
        self.events = NodeEvents(NODE, self.bus, LoopClock(), new_id)
        self.sending = LogSending(NODE, self.bus, self.spool, self.events)
        self.writer = Writer()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        await self.shelf.start()
        await self.spool.open({})
        await self.sending.start()
        async with Background(clock=LoopClock(), chance=random.Random(1).random) as background:
            background.start("sending", self.sending.run)
            background.start("questions", self.sending.look)
            background.start("events", self.events.run)
            yield
        self.spool.close()

    async def write(self, count: int = 10, *, times: int = 1) -> None:
        for _ in range(times):
            await self.spool.append(self.writer.source, [self.writer.chunk(count)])

    async def until(self, wanted: Callable[[], Any], *, within_s: float = 3600.0) -> float:
        """Virtual seconds until it was so."""
        began_s = now_s()
        while not wanted():
            assert now_s() - began_s < within_s, "never came"
            await asyncio.sleep(0.05)
        return now_s() - began_s

    @property
    def blocks(self) -> list[LogBlock]:
        return self.bus.sent(LOG_BLOCK)


def now_s() -> float:
    return asyncio.get_running_loop().time()


def virtually(work: Coroutine[Any, Any, None]) -> None:
    run_in_virtual_time(work)


def test_what_is_stored_is_let_go_at_once_and_then_there_is_silence(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        async with scene.run():
            await scene.write(times=5)
            assert await scene.until(lambda: scene.spool.is_empty) < 1
            assert scene.shelf.numbers("one") == list(range(1, 51))
            await asyncio.sleep(3600)
            assert len(scene.blocks) == 5 and not scene.bus.sent(LOGS_HELD)

    virtually(scenario())


def test_a_node_that_hears_nothing_asks_and_does_not_send_again_what_may_be_under_way(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        scene.shelf.silent = True
        async with scene.run():
            await scene.write()
            assert await scene.until(lambda: scene.bus.sent(LOGS_HELD)) < 20
            assert await scene.until(lambda: scene.spool.is_empty) < 1
            assert len(scene.blocks) == 1

    virtually(scenario())


def test_while_the_store_is_dead_what_the_bus_took_is_not_sent_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)

        scene.shelf.is_dead = True
        async with scene.run():
            await scene.write()
            await asyncio.sleep(3600)
            assert len(scene.blocks) == 1
            assert 3600 / 20 < len(scene.bus.sent(LOGS_HELD)) < 3600 / 9

    virtually(scenario())


def test_what_was_lost_on_its_way_is_sent_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        scene.shelf.deaf = 2
        async with scene.run():
            await scene.write(times=5)
            assert await scene.until(lambda: scene.spool.is_empty) < 100
            assert scene.shelf.numbers("one") == list(range(1, 51))
            assert [(b.first, b.last) for b in scene.blocks[5:]] == [(1, 10), (11, 20)], "no others"

    virtually(scenario())


def test_a_store_that_lags_behind_is_not_flooded(tmp_path: Path) -> None:
    """It answers, and has nothing of it for an hour: it may all wait in the stream."""

    async def scenario() -> None:
        scene = Scene(tmp_path)
        scene.shelf.deaf = 10**9
        async with scene.run():
            await scene.write(times=20)
            await asyncio.sleep(3600)
            assert len(scene.blocks) < 20 * 14

    virtually(scenario())


def test_each_link_begins_with_the_question_what_is_stored(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        async with scene.run():
            scene.bus.disconnect()
            await scene.write(times=3)
            await asyncio.sleep(60)
            assert not scene.shelf.records
            await scene.bus.reconnect()
            assert await scene.until(lambda: scene.spool.is_empty) < 6
            assert scene.bus.sent(LOGS_HELD)[0].ranges[0].last == 30
            assert scene.shelf.numbers("one") == list(range(1, 31))

    virtually(scenario())


def test_what_is_stored_already_is_not_sent_by_the_next_agent(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = Scene(tmp_path)
        first.shelf.silent = True
        async with first.run():
            await first.write(times=3)
            await first.until(lambda: len(first.shelf.numbers("one")) == 30)
        again = Scene(tmp_path)
        again.shelf.ranges, again.shelf.records = first.shelf.ranges, first.shelf.records
        async with again.run():
            assert await again.until(lambda: again.spool.is_empty) < 20

    virtually(scenario())


def test_a_long_outage_with_a_small_spool_ends_with_exact_gaps(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path, most_bytes=64 * 1024)
        async with scene.run():
            scene.bus.disconnect()
            for _ in range(300):
                await scene.write()
                await asyncio.sleep(1)
            await scene.bus.reconnect()
            await scene.until(lambda: scene.spool.is_empty)
            shelf = scene.shelf
            assert len(shelf.numbers("one")) + shelf.gap_lines() == 3000 and shelf.gap_lines() > 0
            assert shelf.ranges["one"] == ((1, 3000),)
            assert 1 <= len(shelf.gaps) <= 3, "gaps of one container become one"
            await scene.spool.tidy()
        again = Scene(tmp_path)
        async with again.run():
            assert again.spool.is_empty, "what was confirmed is not asked for again"

    virtually(scenario())


def test_a_lost_gap_is_sent_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path, most_bytes=32 * 1024)
        async with scene.run():
            scene.bus.disconnect()
            await scene.write(times=100)
            scene.shelf.deaf = 1
            await scene.bus.reconnect()
            await scene.until(lambda: scene.spool.is_empty)
            assert scene.shelf.ranges["one"] == ((1, 1000),)

    virtually(scenario())


def test_what_the_store_refuses_is_let_go_and_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        scene.shelf.refuses = {"one"}
        async with scene.run():
            await scene.write()
            await scene.until(lambda: scene.bus.sent(NODE_EVENT))
            assert scene.spool.is_empty
            (event,) = scene.bus.sent(NODE_EVENT)
            assert event.type == "logs_refused" and "10 log records of container one" in event.detail

    virtually(scenario())


def test_a_question_names_no_more_ranges_than_a_message_may(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path, most_bytes=64 * 2**20)
        scene.shelf.deaf = 10**9
        async with scene.run():
            scene.bus.disconnect()
            for number in range(MOST_RANGES + 5):
                writer = Writer(f"c{number}")
                await scene.spool.append(writer.source, [writer.chunk(1)])
            await scene.bus.reconnect()
            asked = scene.bus.sent(LOGS_HELD)
            assert [len(each.ranges) for each in asked] == [MOST_RANGES, 5]

    virtually(scenario())


def test_no_more_than_the_window_is_under_way(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path, most_bytes=64 * 2**20)
        under_way, most = 0, 0
        append = scene.bus.append

        async def slow(channel: Any, message: Any, *, body: bytes = b"", **more: Any) -> Stored:
            nonlocal under_way, most
            under_way += len(body)
            most = max(most, under_way)
            await asyncio.sleep(0.1)
            under_way -= len(body)
            return await append(channel, message, body=body, **more)

        scene.bus.append = slow  # type: ignore[method-assign]
        async with scene.run():
            scene.bus.disconnect()
            await scene.write(10_000, times=25)
            await scene.bus.reconnect()
            await scene.until(lambda: scene.spool.is_empty)
            assert WINDOW_BYTES / 2 < most <= WINDOW_BYTES

    virtually(scenario())


def test_lost_acknowledgements_change_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        scene.bus.lose_acks = 3
        async with scene.run():
            await scene.write(times=5)
            await scene.until(lambda: scene.spool.is_empty)
            assert scene.shelf.numbers("one") == list(range(1, 51))

    virtually(scenario())
