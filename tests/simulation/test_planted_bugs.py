"""The simulation finds what it is there to find: each planted bug is caught within the seeds that CI runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.simulation.planted_bugs import PLANTED, Plant
from tests.simulation.test_simulation import SEEDS, live
from tests.simulation.time import run_in_virtual_time


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_it_is_caught(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert any(is_caught(seed) for seed in range(SEEDS)), "no seed sees it"


def is_caught(seed: int) -> bool:
    """Whether this seed sees a promise broken."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        return bool(run_in_virtual_time(live(seed, Path(folder))).witness.broken)
