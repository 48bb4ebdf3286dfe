"""Loops that fail go on: ever more seldom where the fault is ours, soon where something was away."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from lattice import background
from lattice.background import FIRST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_WAIT_FOR_OTHERS_S, Background
from lattice.errors import Temporary


async def pauses(error: Callable[[], Exception], times: int) -> list[float]:
    """How long a loop that always fails is paused, each time."""
    begun: list[float] = []

    async def fail() -> None:
        begun.append(asyncio.get_running_loop().time())
        raise error()

    async with Background(chance=lambda: 1.0) as loops:
        loops.start("failing", fail)
        while len(begun) <= times:
            await asyncio.sleep(0.1)
    return [round(later - earlier, 1) for earlier, later in itertools.pairwise(begun)][:times]


@pytest.mark.looptime
async def test_a_fault_of_ours_is_tried_ever_more_seldom() -> None:
    assert await pauses(lambda: ValueError("no"), 8) == [
        FIRST_PAUSE_S,
        1,
        2,
        4,
        8,
        16,
        LONGEST_PAUSE_S,
        LONGEST_PAUSE_S,
    ]


@pytest.mark.looptime
async def test_what_was_away_is_looked_for_soon() -> None:
    found = await pauses(lambda: Temporary("The database is away."), 6)
    assert found == [FIRST_PAUSE_S, 1, 2, 2, 2, 2] and max(found) == LONGEST_WAIT_FOR_OTHERS_S


@pytest.mark.parametrize("failures", [1, 5, 100])
def test_many_that_failed_together_are_spread(failures: int) -> None:
    shortest, longest = background.pause_s(failures, 0.0), background.pause_s(failures, 1.0)
    assert shortest == longest / 2
