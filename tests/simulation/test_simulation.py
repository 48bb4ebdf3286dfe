"""Seeded worlds that go wrong: no promise is broken on the way, and everything is as wanted once it has healed.

One seed again: `pytest tests/simulation -k "seed17-"`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.simulation.time import run_in_virtual_time
from tests.simulation.world import World

SEEDS = 200
STEPS = 14
HEAL_S = 150.0


async def live(seed: int, folder: Path) -> World:
    """One world from beginning to end."""
    world = World(seed, folder)
    async with world.running():
        await world.play(STEPS)
        await world.heal(HEAL_S)
        world.witness.broken += world.witness.settled()
    return world


@pytest.mark.parametrize("seed", range(SEEDS), ids=lambda seed: f"seed{seed}-")
def test_no_promise_is_broken(seed: int) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        world = run_in_virtual_time(live(seed, Path(folder)))
    assert world.witness.broken == [], "\n".join(world.log)
