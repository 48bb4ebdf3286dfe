"""What the registry tells the scheduler, and which placements it refuses."""

from __future__ import annotations

from dataclasses import asdict

from lattice.contracts.messages import CommitPlacements, SchedulingQuery
from services.registry import scheduling
from services.registry.change import SYSTEM
from services.registry.disk_watermark import DiskFull
from services.registry.node_rows import find_node, note_disk_full
from tests.fixtures.registry_world import NODE, World, placement
from tests.fixtures.registry_world import world as world

FULL = DiskFull(percent=91, refuse_above_percent=85, accept_below_percent=80)


async def _fill(world: World, full: DiskFull | None) -> None:
    async with world.deps.change(SYSTEM, action="test") as change:
        note_disk_full(change, await find_node(change.tx, NODE, lock=True), full)


async def test_a_disk_that_fills_up_between_the_decision_and_its_commit_takes_nothing_new(
    world: World,
) -> None:
    await world.create(name="first", image="web:1", ports=[])
    await world.place_all()
    await world.create(name="second", image="web:1")
    before = await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())
    await _fill(world, FULL)
    (wanted,) = before.wanted
    stale = placement(wanted, before.nodes[0].placement_version)
    answer = await scheduling.commit_placements(
        world.deps, CommitPlacements(term=before.term, placements=(stale,))
    )
    assert [each.reason for each in answer.refused] == ["node one changed meanwhile"]
    (node,) = answer.nodes
    assert node.disk_problem == "disk 91 % full, new work is refused above 85 %" == FULL.reason
    assert sum(node.workloads.values()) == 1  # what stood there stays
    fresh = placement(wanted, node.placement_version)
    answer = await scheduling.commit_placements(
        world.deps, CommitPlacements(term=before.term, placements=(fresh,))
    )
    assert FULL.reason in answer.refused[0].reason
    await _fill(world, None)
    assert [each.instance_id for each in await world.place_all()] == [wanted.instance_id]


def test_what_is_stored_of_a_full_disk_is_plain() -> None:
    assert asdict(FULL) == {"percent": 91, "refuse_above_percent": 85, "accept_below_percent": 80}
