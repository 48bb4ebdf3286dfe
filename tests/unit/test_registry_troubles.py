"""What the registry says is wrong: the rules, and what is read for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from lattice.contracts.messages import Trouble, TroubleKind
from lattice.contracts.nouns import Health, InstanceState, Liveness, Membership, Phase
from lattice.storage import Not
from services.registry.change import SYSTEM
from services.registry.tables import ClusterRow, FactRow, NodeRow, OperationRow, RolloutRow
from services.registry.trouble_rules import (
    Expectations,
    InstanceSight,
    NodeSight,
    WorkloadSight,
    node_troubles,
    workload_troubles,
)
from services.registry.troubles import troubles_now
from tests.fixtures.registry_world import NODE, World, deployed, running

NOW = datetime(2030, 1, 1, tzinfo=UTC)
REMEMBERED = timedelta(days=1)
EXPECTED = Expectations(renewed_before=timedelta(hours=4), version="1.2.0")
WELL = NodeSight(
    node_id="nd-1",
    name="hydra",
    membership=Membership.APPROVED,
    liveness=Liveness.READY,
    created_at=NOW,
    certificate_expires_at=NOW + timedelta(hours=20),
    agent_version="1.2.0",
)


def kinds(troubles: list[Trouble]) -> list[TroubleKind]:
    return [trouble.kind for trouble in troubles]


def of_node(**changes: Any) -> list[Trouble]:
    return node_troubles(replace(WELL, **changes), EXPECTED, NOW)


# --- nodes ---------------------------------------------------------------------------------------------------


def test_a_node_that_is_well_has_no_trouble() -> None:
    assert of_node() == []
    assert of_node(membership=Membership.REVOKED, engine_problem="away") == []


def test_who_waits_is_named_with_the_fingerprint() -> None:
    (trouble,) = of_node(membership=Membership.PENDING, fingerprint="ab:cd")
    assert trouble.kind is TroubleKind.NODE_PENDING and "ab:cd" in trouble.detail and trouble.since == NOW


def test_of_a_node_that_cannot_be_reached_nothing_else_is_told() -> None:
    lost = of_node(liveness=Liveness.UNREACHABLE, lost_since=NOW, disk_problem="full", engine_problem="away")
    assert kinds(lost) == [TroubleKind.NODE_UNREACHABLE] and lost[0].since == NOW


def test_each_thing_that_is_wrong_is_told() -> None:
    found = of_node(
        engine_problem="the Engine does not answer",
        disk_problem="disk 91 % full",
        cloned=True,
        certificate_expires_at=NOW + timedelta(hours=3),
        agent_version="1.1.0",
    )
    assert kinds(found) == [
        TroubleKind.NODE_CLONED,
        TroubleKind.NODE_ENGINE_AWAY,
        TroubleKind.NODE_DISK_LOW,
        TroubleKind.NODE_CERTIFICATE_EXPIRING,
        TroubleKind.NODE_VERSION_SKEW,
    ]


# --- workloads -----------------------------------------------------------------------------------------------


def of_instances(*instances: InstanceSight, replicas: int = 2) -> list[Trouble]:
    sight = WorkloadSight(
        workload_id="wl-1", name="web", project="shop", replicas=replicas, instances=instances
    )
    return workload_troubles(sight)


RUNS = InstanceSight(state=InstanceState.RUNNING)


def test_a_workload_that_works_has_no_trouble() -> None:
    assert of_instances(RUNS, RUNS) == []
    assert of_instances(RUNS, RUNS, InstanceSight(state=InstanceState.STARTING)) == [], "an update"
    assert of_instances(InstanceSight(state=InstanceState.PULLING), replicas=1) == [], "a first deploy"


def test_what_keeps_crashing_is_told_as_that_alone() -> None:
    crashing = InstanceSight(
        state=InstanceState.FAILED, failing_since=NOW, reason="exited with 1", node_name="hydra"
    )
    (trouble,) = of_instances(crashing, replace(crashing, failing_since=NOW - timedelta(seconds=5)))
    assert trouble.kind is TroubleKind.WORKLOAD_CRASH_LOOPING
    assert trouble.since == NOW - timedelta(seconds=5)
    assert trouble.detail == "exited with 1 on node hydra, and 1 more"


def test_what_has_failed_for_good_and_what_lacks_some() -> None:
    failed = InstanceSight(state=InstanceState.FAILED, reason="exited with 3", unready_since=NOW)
    assert kinds(of_instances(failed, failed)) == [TroubleKind.WORKLOAD_FAILED]
    assert kinds(of_instances(failed, RUNS)) == [TroubleKind.WORKLOAD_DEGRADED]
    held = InstanceSight(state=InstanceState.HELD, unready_since=NOW)
    (trouble,) = of_instances(held, replicas=1)
    assert trouble.kind is TroubleKind.WORKLOAD_DEGRADED
    assert trouble.since is None, "nobody noted since when its node is away"


def test_what_has_no_place_says_why() -> None:
    waits = InstanceSight(
        state=InstanceState.PENDING, unplaced_since=NOW, unplaced_reason="no node has 64 cores"
    )
    (trouble,) = of_instances(waits, RUNS)[:1]
    assert (trouble.kind, trouble.detail, trouble.since) == (
        TroubleKind.WORKLOAD_UNPLACEABLE,
        "no node has 64 cores",
        NOW,
    )


# --- what is read --------------------------------------------------------------------------------------------

WEB: dict[str, Any] = {"name": "web", "image": "nginx:1"}


async def troubles(world: World) -> list[Trouble]:
    expected = replace(EXPECTED, version="")
    found = await troubles_now(world.deps, expected, remembered_s=REMEMBERED.total_seconds())
    return list(found.items)


async def test_a_platform_that_is_well_has_none(world: World) -> None:
    await deployed(world, **WEB)
    assert await troubles(world) == []


async def test_a_container_that_keeps_crashing(world: World) -> None:
    _, document = await deployed(world, **WEB)
    since = world.clock.now()
    crashing = running(
        document, phase=Phase.FAILED, health=Health.UNKNOWN, reason="exited with 1", failing_since=since
    )
    await world.report(crashing, generation=document.generation)
    (trouble,) = await troubles(world)
    assert trouble.kind is TroubleKind.WORKLOAD_CRASH_LOOPING
    assert (trouble.project, trouble.entity_name, trouble.since) == ("default", "web", since)
    await world.report(running(document), generation=document.generation)
    assert await troubles(world) == []


async def test_an_unreachable_node_is_told_and_what_it_does_to_its_work(world: World) -> None:
    await deployed(world, **WEB)
    async with world.deps.store.transaction() as tx:
        node = await tx.get(NodeRow, NODE, lock=True)
        assert node is not None
        tx.update(node, liveness=Liveness.UNREACHABLE.value, lost_since=world.clock.now())
    assert kinds(await troubles(world)) == [TroubleKind.NODE_UNREACHABLE, TroubleKind.WORKLOAD_DEGRADED]


async def test_nobody_is_told_of_a_place_before_one_was_looked_for(world: World) -> None:
    await world.create(**WEB)
    assert await troubles(world) == []


async def fail(world: World, **rollout: Any) -> str:
    """The newest operation of the only workload ends without success; its id."""
    async with world.deps.store.transaction() as tx:
        operation = (await tx.find(OperationRow, order_by=("-created_at",)))[0]
        problem = {"code": "unhealthy", "detail": "it did not become healthy"}
        ended_at = world.clock.now()
        tx.update(operation, state="failed", ended_at=ended_at, problem=problem)
        if rollout:
            row = RolloutRow(
                id="ro-1",
                workload_id=operation.subject_id,
                from_revision=1,
                to_revision=2,
                update_order="start-first",
                operation_id=operation.id,
                started_at=ended_at,
                ended_at=ended_at,
                **rollout,
            )
            tx.add(row)
    return operation.id


async def test_a_failed_deploy_is_told_until_another_goes_well_or_a_day_has_passed(world: World) -> None:
    await deployed(world, **WEB)
    operation_id = await fail(world)
    (trouble,) = await troubles(world)
    assert (trouble.kind, trouble.mark) == (TroubleKind.DEPLOY_FAILED, operation_id)
    assert trouble.detail == "it did not become healthy"
    world.clock.advance(REMEMBERED.total_seconds() + 1)
    assert await troubles(world) == []


async def test_an_update_that_went_back_is_told_as_that(world: World) -> None:
    await deployed(world, **WEB)
    await fail(world, state="rolled_back")
    assert kinds(await troubles(world)) == [TroubleKind.UPDATE_ROLLED_BACK]


async def test_dead_letters_are_told_by_consumer_with_the_newest_as_their_mark(world: World) -> None:
    for number in range(3):
        async with world.deps.change(SYSTEM, action="message.give_up") as change:
            data = {"subject": f"lattice.sched.wl-{number}", "reason": "MAX_DELIVERIES"}
            change.fact(
                "dead_letter", "kept", entity_id=f"dl-{number}", entity_name="SCHED/scheduler", data=data
            )
        world.clock.advance(1)
    (trouble,) = await troubles(world)
    assert trouble.kind is TroubleKind.DEAD_LETTER and trouble.entity_id == "SCHED/scheduler"
    assert trouble.detail.startswith("3 messages were given up") and "wl-2" in trouble.detail
    async with world.deps.store.transaction() as tx:
        (*_, newest) = await tx.find(FactRow, entity="dead_letter", order_by=("created_at",))
    assert trouble.mark == newest.id


async def test_moves_that_are_held_are_told(world: World) -> None:
    async with world.deps.store.transaction() as tx:
        (cluster,) = await tx.find(ClusterRow, cluster_id=Not(None))
        tx.update(cluster, moves_held_until=world.clock.now() + timedelta(minutes=15))
    assert kinds(await troubles(world)) == [TroubleKind.MASS_NODE_LOSS]
