"""The room beside data: between the end of an instance and its successor nobody else takes it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from lattice.contracts.messages import (
    SchedulingQuery,
    SchedulingSnapshot,
    UpdateWorkload,
    WorkloadCommand,
)
from services.registry import scheduling, workload_update, workloads
from services.registry.following import follow_up
from services.registry.held_room import HELD_FOR
from services.registry.sweep import Sweep
from tests.fixtures.registry_world import CALLER, NODE, World, deployed, running

# Of the node's 4 cores.
LARGE: dict[str, Any] = {"resources": {"cpu": 3}}
DATA: dict[str, Any] = {"volumes": [{"name": "data", "path": "/data"}]}
STOP_FIRST: dict[str, Any] = {"update": {"order": "stop-first"}}


async def snapshot(world: World) -> SchedulingSnapshot:
    return await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())


async def reserved_cpu(world: World) -> int:
    (node,) = (await snapshot(world)).nodes
    return node.reserved.cpu_millis


async def just_ended(world: World, monkeypatch: pytest.MonkeyPatch, **spec: Any) -> str:
    """A workload that is updated: the old instance is known to be gone, and nobody has looked at the workload since."""
    _, document = await deployed(world, name="db", image="db:1", **LARGE, **(spec or DATA))
    await world.report(running(document), generation=document.generation)
    update = UpdateWorkload(caller=CALLER, workload="db", patch={"env": {"V": "2"}})
    accepted = await workload_update.update_workload(world.deps, update)
    generation = (await world.document()).generation
    with monkeypatch.context() as nobody_looks:

        async def nothing(*_: object, **__: object) -> None:
            return None

        nobody_looks.setattr("services.registry.observed.follow_up", nothing)
        await world.report(generation=generation)
    assert accepted.workload is not None
    return accepted.workload.id


async def test_who_waits_does_not_get_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    workload_id = await just_ended(world, monkeypatch)
    await world.create(name="waits", image="web:1", **LARGE)
    assert await reserved_cpu(world) == 3000
    await follow_up(world.deps, [workload_id])
    seen = await snapshot(world)
    assert seen.nodes[0].reserved.cpu_millis == 0, "the successor is there and chooses for itself"
    names = {each.workload_name for each in seen.wanted}
    assert names == {"db", "waits"} and seen.nodes[0].node_id == NODE


@pytest.mark.parametrize("why", ["it is stopped", "nobody comes back for it"])
async def test_it_is_let_go(world: World, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    await just_ended(world, monkeypatch)
    (before,) = (await snapshot(world)).nodes
    if why == "it is stopped":
        await workloads.stop_workload(world.deps, WorkloadCommand(caller=CALLER, workload="db"))
    else:
        world.clock.advance((HELD_FOR + timedelta(seconds=1)).total_seconds())
    (after,) = (await snapshot(world)).nodes
    assert (before.reserved.cpu_millis, after.reserved.cpu_millis) == (3000, 0)
    await Sweep(world.deps)._let_rooms_go()
    (told,) = (await snapshot(world)).nodes
    if why != "it is stopped":
        assert told.placement_version > before.placement_version, "or the scheduler would not see it"


async def test_what_has_no_data_may_go_anywhere_and_holds_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await just_ended(world, monkeypatch, **STOP_FIRST)
    assert await reserved_cpu(world) == 0
