"""Apps in seeded worlds that go wrong: what belongs together ends on one node, and what waits for other work comes after it.

One seed again: `pytest tests/simulation/test_apps.py -k "seed17-"`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from lattice.contracts import catalogue as c
from lattice.contracts import messages as m
from lattice.contracts.nouns import DesiredState
from services.registry import displacing, placement_wishes, rendering, scheduling
from services.registry.tables import InstanceRow, WorkloadRow
from tests.simulation.time import run_in_virtual_time
from tests.simulation.witness import BAD
from tests.simulation.world import CALLER, World

SEEDS = 16
STEPS = 14
HEAL_S = 150.0
# Three services of both apps, and one more during an update, fit on a node.
SMALL = {
    "image": "app:1",
    "restart": "always",
    "deploy": {"resources": {"limits": {"cpus": "0.4", "memory": "64m"}}},
}
APPS = ("one", "two")  # the second has data


class AppWorld(World):
    """People apply compose files, and now and then lay hands on a part of an app."""

    async def command(self) -> None:
        app = self.chance.choice(APPS)
        web = f"{app}-web"
        plain = m.WorkloadCommand(caller=CALLER, workload=web)
        scaled = m.ScaleWorkload(caller=CALLER, workload=web, replicas=self.chance.randrange(3))
        await self.chance.choice(
            (
                lambda: self._apply(app),
                lambda: self._apply(app),
                lambda: self._apply(app),
                lambda: self.ask(c.DELETE_APP, m.DeleteApp(caller=CALLER, app=app)),
                lambda: self.ask(c.STOP_WORKLOAD, plain),
                lambda: self.ask(c.START_WORKLOAD, plain),
                lambda: self.ask(c.RESTART_WORKLOAD, plain),
                lambda: self.ask(c.SCALE_WORKLOAD, scaled),
                lambda: self._remove(web),
                lambda: self._on_node(c.DRAIN_NODE, m.DrainNode),
                lambda: self._on_node(c.UNCORDON_NODE, m.NodeCommand),
            )
        )()

    async def _apply(self, app: str) -> None:
        services: dict[str, Any] = {
            "db": {**SMALL, "environment": {"V": str(self.chance.randrange(3))}},
            "web": {**SMALL, "depends_on": ["db"], "environment": {"V": self.chance.choice(("1", "2", BAD))}},
        }
        if app == "two":
            services["db"]["volumes"] = ["data:/data"]
        if self.chance.random() < 0.4:
            services["more"] = {**SMALL, "depends_on": ["db"]}
        document = {"services": services, "volumes": {"data": None}}
        request = m.ApplyApp(caller=CALLER, app=app, compose=document, adopt=True)
        await self.ask(c.APPLY_APP, request)

    def torn(self) -> Iterable[str]:
        """Apps of which services run on several nodes at the end."""
        apps = {row["id"]: row["app"] for row in self.witness.rows(WorkloadRow) if row["removed_at"] is None}
        nodes: dict[str, set[str]] = {}
        for row in self.witness.rows(InstanceRow):
            if row["workload_id"] in apps and row["desired"] == "running" and row["phase"] == "running":
                nodes.setdefault(apps[row["workload_id"]], set()).add(row["node_id"])
        return (f"app {app} is torn: {sorted(there)}" for app, there in nodes.items() if len(there) > 1)


async def live(seed: int, folder: Path) -> AppWorld:
    """One world from beginning to end."""
    world = AppWorld(seed, folder)
    async with world.running():
        await world.play(STEPS)
        await world.heal(HEAL_S)
        world.witness.broken += [*world.witness.settled(), *world.torn()]
    return world


@pytest.mark.parametrize("seed", range(SEEDS), ids=lambda seed: f"seed{seed}-")
def test_what_belongs_together_stays_together(seed: int) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        world = run_in_virtual_time(live(seed, Path(folder)))
    assert world.witness.broken == [], "\n".join(world.log)


def homes_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Nobody remembers where the rest of an app is."""

    async def nowhere(tx: Any, app_ids: Any) -> dict[str, str]:
        return {}

    for module in (scheduling, displacing, placement_wishes):
        patch.setattr(module, "homes_of", nowhere)


def told_before_its_time(patch: pytest.MonkeyPatch) -> None:
    """A node is told of what still waits for other work."""
    patch.setattr(rendering, "_is_told", lambda row: row.desired != DesiredState.REMOVED)


@pytest.mark.parametrize("plant", [homes_forgotten, told_before_its_time], ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_caught(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert any(_is_caught(seed) for seed in range(SEEDS)), "no seed sees it"


def _is_caught(seed: int) -> bool:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        return bool(run_in_virtual_time(live(seed, Path(folder))).witness.broken)
