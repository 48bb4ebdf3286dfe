"""How often an agent reports, on virtual time."""

from __future__ import annotations

import asyncio

import pytest

from agent.reporter import EVERY_S, Reporter, pause_s
from lattice.cancelling import cancel_and_wait
from lattice.contracts.catalogue import STATUS
from lattice.contracts.messages import ObservedDocument
from lattice.contracts.nouns import Amounts, Inventory, ObservedContainer, Phase
from lattice.testing import MemoryBus
from tests.fixtures.agent import key_of

CHANGES_EVERY_S = 0.01


def seen(slot: int, phase: Phase, reason: str) -> ObservedContainer:
    key = key_of().model_copy(update={"slot": slot})
    return ObservedContainer(key=key, instance_id=f"in-{slot}", phase=phase, reason=reason)


async def reports_in(seconds: float, *, starting: int) -> int:
    """How many reports a node with so many containers on their way sends while something changes all the time."""
    bus, news = MemoryBus(), 0

    def compose(counter: int) -> ObservedDocument:
        containers = tuple(seen(slot, Phase.STARTING, f"{news}") for slot in range(starting))
        return ObservedDocument(
            node_id="nd-1", boot_id="b", session=1, counter=counter, era=1, generation=1, complete=True,
            containers=containers, inventory=Inventory(capacity=Amounts()),
        )  # fmt: skip

    reporter = Reporter("nd-1", bus, compose)
    running = asyncio.create_task(reporter.run())
    for _ in range(round(seconds / CHANGES_EVERY_S)):
        news += 1
        reporter.changed()
        await asyncio.sleep(CHANGES_EVERY_S)
    await cancel_and_wait([running])
    return len(bus.sent(STATUS))


@pytest.mark.looptime
async def test_one_container_on_its_way_is_told_of_at_once_and_a_hundred_in_few_reports() -> None:
    assert await reports_in(2, starting=1) > 50
    assert 3 <= await reports_in(2, starting=100) <= 5


def told_at(until_s: float) -> list[float]:
    """When a node reports on which nothing changes after a change."""
    times = [0.0]
    while times[-1] < until_s:
        times.append(times[-1] + pause_s(times[-1]))
    return times


def test_that_nothing_has_changed_is_said_more_often_in_the_half_minute_after_a_change() -> None:
    assert told_at(100) == [0, 6, 11, 21, 31, 31 + EVERY_S, 31 + 2 * EVERY_S, 31 + 3 * EVERY_S]
    assert pause_s(2.0, every_s=1.0) == 1.0


@pytest.mark.looptime
async def test_quiet_nodes_report_seldom_and_a_change_begins_anew() -> None:
    bus, phase, times = MemoryBus(), Phase.STARTING, []
    loop = asyncio.get_running_loop()

    def compose(counter: int) -> ObservedDocument:
        return ObservedDocument(
            node_id="nd-1", boot_id="b", session=1, counter=counter, era=1, generation=1, complete=True,
            containers=(seen(0, phase, ""),), inventory=Inventory(capacity=Amounts()),
        )  # fmt: skip

    reporter = Reporter("nd-1", bus, compose)
    running = asyncio.create_task(reporter.run())
    reporter.changed()
    told = 0
    for _ in range(1000):
        if len(bus.sent(STATUS)) > told:
            told = len(bus.sent(STATUS))
            times.append(round(loop.time()))
        if round(loop.time(), 1) == 40.0:
            phase = Phase.RUNNING
            reporter.changed()
        await asyncio.sleep(0.1)
    await cancel_and_wait([running])
    assert times == [0, 6, 11, 21, 31, 40, 46, 51, 61, 71]
