"""What the registry tells the scheduler, and which placements it refuses."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from lattice.contracts.messages import (
    CommitPlacements,
    GetByName,
    PlacementRequest,
    SchedulingQuery,
    UpdateNode,
    UpdateWorkload,
)
from services.registry import nodes, reading, scheduling, workload_update
from services.registry.change import SYSTEM
from services.registry.disk_watermark import DiskFull
from services.registry.image_pinning import Answer, RegistryAnswer
from services.registry.node_deps import NodeDeps
from services.registry.node_rows import find_node, note_disk_full
from services.registry.tables import FactRow
from services.scheduler.placement import Unplaceable, place
from tests.fixtures.registry_world import CALLER, INVENTORY, NODE, Registries, World, placement
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


async def _requests(world: World) -> dict[str, PlacementRequest]:
    snapshot = await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())
    return {request.workload_name: request for request in snapshot.wanted}


async def test_rules_reach_the_scheduler_with_the_ids_of_those_they_name(world: World) -> None:
    db = await world.create(name="db", image="web:1")
    placement_ = {
        "spread": "label.zone",
        "strategy": "binpack",
        "preferred": [{"constraint": "label.disk == ssd", "weight": 20}],
        "affinity": [{"workload": "db", "topology": "label.zone"}, {"workload": "later", "weight": 5}],
        "anti_affinity": [{"workload": "web"}],
    }
    web = await world.create(name="web", image="web:1", placement=placement_)
    asked = (await _requests(world))["web"]
    assert (asked.spread, asked.strategy) == ("label.zone", "binpack")
    assert [(each.constraint, each.weight) for each in asked.preferred] == [("label.disk == ssd", 20)]
    assert [(each.workload_id, each.topology, each.weight) for each in asked.affinity] == [
        (db.workload.id if db.workload else "", "label.zone", None),
        (None, "node", 5),
    ]
    assert [each.workload_id for each in asked.anti_affinity] == [web.workload.id if web.workload else ""]


async def test_who_keeps_apart_is_not_joined_by_those_it_keeps_apart_from(world: World) -> None:
    await world.create(
        name="quiet", image="web:1", placement={"anti_affinity": [{"workload": "loud"}, {"workload": "so-so", "weight": 9}]}
    )  # fmt: skip
    await world.create(name="loud", image="web:1")
    await world.create(name="so-so", image="web:1")
    asked = await _requests(world)
    (rule,) = asked["loud"].anti_affinity
    assert (rule.workload_name, rule.topology, rule.weight, rule.is_theirs) == ("quiet", "node", None, True)
    assert asked["so-so"].anti_affinity == ()
    await _update(world, "quiet", {"placement": {"anti_affinity": []}})
    assert (await _requests(world))["loud"].anti_affinity == ()
    await _update(world, "quiet", {"placement": {"anti_affinity": [{"workload": "loud"}]}})
    assert (await _requests(world))["loud"].anti_affinity == (rule,)


async def _update(world: World, name: str, patch: dict[str, Any]) -> None:
    await workload_update.update_workload(
        world.deps, UpdateWorkload(caller=CALLER, workload=name, patch=patch)
    )


async def test_labels_and_pools_that_change_leave_what_runs_and_are_said_to_the_scheduler(
    world: World,
) -> None:
    """The fact wakes the scheduler (`may_make_room`), which tries again what waits."""
    await world.create(name="runs", image="web:1", placement={"constraints": ["label.zone != home"]})
    await world.place_all()
    await world.create(name="waits", image="web:1", placement={"constraints": ["label.zone == home"]})
    node_deps = NodeDeps(world.deps, None)  # type: ignore[arg-type]  # no certificate is made here
    await nodes.update_node(node_deps, UpdateNode(caller=CALLER, node="one", labels={"zone": "home"}))
    snapshot = await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())
    (node,) = snapshot.nodes
    assert node.labels == {"zone": "home"}
    assert sum(node.workloads.values()) == 1
    async with world.deps.store.transaction() as tx:
        (fact,) = await tx.find(FactRow, entity="node", verb="updated")
    assert fact.data == {"labels": {"zone": "home"}}
    assert not isinstance(place(snapshot.wanted[0], snapshot.nodes), Unplaceable)
    runs = await reading.get_workload(world.deps, GetByName(ref="runs"))
    assert [each.node for each in runs.instances] == ["one"]


async def test_only_images_that_are_asked_for_are_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All images of forty nodes were more than a message holds."""
    (known,) = INVENTORY.images
    nothing = await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())
    assert nothing.nodes[0].image_ids == frozenset()
    asked = SchedulingQuery(image_ids=frozenset({known.id, "sha256:other"}))
    assert (await scheduling.scheduling_snapshot(world.deps, asked)).nodes[0].image_ids == {known.id}
    monkeypatch.setattr(Registries, "reply", RegistryAnswer(Answer.AWAY, detail="no route"))
    await world.create(name="db", template="postgres")
    waiting = await scheduling.scheduling_snapshot(world.deps, SchedulingQuery())
    assert waiting.wanted[0].image_id == known.id and waiting.nodes[0].image_ids == {known.id}


async def test_what_has_data_is_told_whoever_is_asked_about(world: World) -> None:
    """Else a round about another workload could take the room beside it."""
    volumes = [{"name": "data", "path": "/data"}]
    await world.create(name="db", image="db:1", volumes=volumes)
    await world.create(name="other", image="web:1")
    asked = (await world.create(name="web", image="web:1")).operation.subject_id
    query = SchedulingQuery(workload_ids=frozenset({asked}))
    told = await scheduling.scheduling_snapshot(world.deps, query)
    assert {each.workload_name for each in told.wanted} == {"db", "web"}
