"""Plans: what would change, exactly as refused or done by the real thing, and nothing written."""

from __future__ import annotations

from typing import Any

import pytest

from lattice.contracts.messages import (
    CreateProject,
    PlanWorkload,
    ScaleWorkload,
    SchedulingQuery,
    UpdateWorkload,
    WorkloadCommand,
    WorkloadPlan,
)
from lattice.contracts.spec import WorkloadSpec
from lattice.contracts.views import PlanAction
from lattice.errors import Conflict, Invalid, LatticeError, NotFound, StaleVersion
from services.registry import belongings, scheduling, workload_update, workloads
from services.registry.image_pinning import Answer, RegistryAnswer
from services.registry.planning import plan_workload
from services.registry.tables import TABLES
from services.scheduler.trial import try_placements
from tests.fixtures.registry_world import CALLER, DIGEST, Registries, World, deployed
from tests.fixtures.registry_world import world as world

WEB: dict[str, Any] = {"name": "web", "image": "web:1", "env": {"V": "1"}}


async def plan(
    world: World, *, project: str = "default", if_match: str | None = None, **spec: Any
) -> WorkloadPlan:
    caller = CALLER.model_copy(update={"if_match": if_match})
    return await plan_workload(
        world.deps, PlanWorkload(caller=caller, project=project, spec=WorkloadSpec(**spec))
    )


async def everything(world: World) -> list[Any]:
    async with world.deps.store.transaction() as tx:
        return [[row.model_dump() for row in await tx.find(table)] for table in TABLES]


async def test_something_new_writes_nothing_and_says_what_it_needs(world: World) -> None:
    before = await everything(world)
    found = await plan(world, **WEB, replicas=2)
    assert await everything(world) == before
    view = found.view
    assert (view.action, view.version, view.revision, view.added) == (PlanAction.CREATE, 0, None, 2)
    assert view.image.endswith(f"@{DIGEST}")
    assert [step.request.slot for step in found.trial.steps] == [0, 1]
    assert not found.trial.stop_first


async def test_an_update_is_told_field_by_field_with_what_restarts(world: World) -> None:
    await deployed(world, **WEB, replicas=1)
    before = await everything(world)
    found = await plan(world, **WEB | {"env": {"V": "2"}, "replicas": 2})
    assert await everything(world) == before
    view = found.view
    assert [(each.path, each.before, each.after) for each in view.changes] == [
        ("replicas", 1, 2),
        ("env.V", "1", "2"),
    ]
    assert (view.action, view.revision, view.order) == (PlanAction.UPDATE, 1, "start-first")
    assert (view.replaced, view.added, view.removed) == (1, 1, 0)
    assert [step.leaving and step.leaving.node_id for step in found.trial.steps] == ["nd-one", None]
    updated = await workload_update.update_workload(
        world.deps,
        UpdateWorkload(
            caller=CALLER.model_copy(update={"if_match": f'"{view.version}"'}),
            workload="web",
            spec=view.spec,
        ),
    )
    assert updated.workload is not None and updated.workload.revision == 2
    with pytest.raises(StaleVersion):
        await plan(world, if_match=f'"{view.version}"', **WEB)


async def test_with_a_volume_it_says_why_it_stops_first(world: World) -> None:
    spec: dict[str, Any] = {**WEB, "volumes": [{"name": "data", "path": "/data"}]}
    await deployed(world, **spec)
    found = await plan(world, **spec | {"env": {"V": "2"}})
    assert (found.view.order, found.trial.stop_first) == ("stop-first", True)
    assert "volume" in found.view.order_reason
    assert found.trial.steps[0].request.only_nodes == ("nd-one",)
    snapshot = await scheduling.scheduling_snapshot(world.deps, SchedulingQuery(workload_ids=frozenset()))
    (tried,) = try_placements(found.trial, snapshot.nodes).tried
    assert tried.node_name == "one"


async def test_what_replaces_nothing_says_so(world: World) -> None:
    await deployed(world, **WEB, replicas=2)
    nothing = (await plan(world, **WEB, replicas=2)).view
    assert (nothing.action, nothing.reason) == (PlanAction.NOTHING, "it is as described already")
    fewer = (await plan(world, **WEB, replicas=1)).view
    assert (fewer.replaced, fewer.added, fewer.removed, fewer.order) == (0, 0, 1, None)
    more = await plan(world, **WEB, replicas=4)
    assert (more.view.replaced, more.view.added) == (0, 2)
    assert [step.request.slot for step in more.trial.steps] == [2, 3]


async def test_a_tag_that_moved_and_a_workload_that_is_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deployed(world, **WEB)
    newer = RegistryAnswer(Answer.FOUND, digest="sha256:" + "c" * 64)
    monkeypatch.setattr(Registries, "reply", newer)
    moved = (await plan(world, **WEB)).view
    assert (moved.reason, moved.replaced) == ("the image's name means other content by now", 1)
    assert moved.image != moved.image_before
    await workloads.stop_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
    stopped = await plan(world, **WEB)
    assert stopped.view.reason == "it is stopped: the change counts from the next start on"
    assert (stopped.view.replaced, stopped.trial.steps) == (0, ())


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ({"name": "web", "template": "nothing-like-it"}, Invalid),
        ({"name": "web", "image": "web:1", "resources": {"memory": "100Gi"}}, Invalid),
        ({"name": "web", "image": "web:1", "secrets": {"KEY": {"from": "missing"}}}, Invalid),
        ({"name": "web", "image": "web:1", "replicas": 2, "volumes": [{"name": "data", "path": "/data"}]}, Invalid),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_as_by_the_real_thing(
    world: World, spec: dict[str, Any], error: type[LatticeError]
) -> None:
    before = await everything(world)
    with pytest.raises(error) as really:
        await world.create(**spec)
    with pytest.raises(error) as planned:
        await plan(world, **spec)
    assert str(planned.value) == str(really.value)
    assert await everything(world) == before


async def test_other_refusals_are_the_same_too(world: World) -> None:
    with pytest.raises(NotFound, match="no project 'nowhere'"):
        await plan(world, project="nowhere", **WEB)
    await deployed(world, **WEB)
    await workload_update.update_workload(
        world.deps, UpdateWorkload(caller=CALLER, workload="web", patch={"env": {"V": "2"}})
    )
    with pytest.raises(Conflict):
        await plan(world, **WEB | {"env": {"V": "2"}, "replicas": 3})
    with pytest.raises(Conflict):
        await workload_update.scale_workload(
            world.deps, ScaleWorkload(caller=CALLER, workload="web", replicas=3)
        )
    under_way = (await plan(world, **WEB | {"env": {"V": "2"}})).view
    assert under_way.reason == "it is being rolled out already"
    await belongings.create_project(world.deps, CreateProject(caller=CALLER, name="shop"))
    assert (await plan(world, project="shop", **WEB)).view.action is PlanAction.CREATE
