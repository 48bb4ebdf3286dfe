"""A workload on its way to another goal, in the registry alone: updates, their way back, scaling, earlier revisions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from lattice.contracts.catalogue import ROUTE
from lattice.contracts.messages import (
    DeleteSecret,
    DesiredDocument,
    DesiredInstance,
    GetByName,
    GetCredentials,
    ListFacts,
    OperationCommand,
    RollbackWorkload,
    ScaleWorkload,
    SetSecret,
    UpdateWorkload,
    WorkloadCommand,
)
from lattice.contracts.nouns import (
    Health,
    ObservedContainer,
    OperationState,
    Phase,
    RolloutState,
    WorkloadState,
)
from lattice.contracts.spec import UpdateOrder, WorkloadSpec
from lattice.contracts.views import Accepted, OperationView, RevisionView, WorkloadView
from lattice.errors import Conflict, Invalid, NotFound, StaleVersion
from services.registry import belongings, credentials, reading, workload_update, workloads
from services.registry.sweep import Sweep
from services.registry.tables import InstanceRow, VolumeRow
from tests.fixtures.registry_world import CALLER, World

FIRST, SECOND = "app:1", "app:2"


class Node:
    """The world's node: does what its document says, as far as a test lets it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.broken: set[str] = set()

    async def act(self, *, ready: bool = True) -> DesiredDocument:
        """Place, and report everything that is wanted; instances whose image is broken have failed."""
        await self._world.place_all()
        document = await self._world.document()
        seen = [self._seen(instance, ready=ready) for instance in document.instances]
        await self._world.report(*seen, generation=document.generation)
        return document

    async def settle(self, *, rounds: int = 12) -> list[list[str]]:
        """Act until the document does not change any more; the images that each document wanted."""
        wanted: list[list[str]] = []
        for _ in range(rounds):
            document = await self.act()
            images = sorted(instance.run.env["V"] for instance in document.instances)
            if wanted and images == wanted[-1] and not document.tombstones:
                break
            wanted.append(images)
        return wanted

    def _seen(self, instance: DesiredInstance, *, ready: bool) -> ObservedContainer:
        health = Health.HEALTHY if ready else Health.UNKNOWN
        state: dict[str, Any] = {"phase": Phase.RUNNING, "health": health}
        if instance.run.env.get("V") in self.broken:
            state = {
                "phase": Phase.FAILED,
                "restarts": 3,
                "exit_code": 1,
                "reason": "exited with 1",
                "last_log": ("no such flag",),
            }
        return ObservedContainer(key=instance.key, instance_id=instance.instance_id, **state)


@pytest.fixture
def node(world: World) -> Node:
    return Node(world)


def spec(version: str = "1", **more: Any) -> dict[str, Any]:
    at_once = {"healthy_for": 0}
    return {"name": "web", "image": "app:1", "env": {"V": version}, "update": at_once, **more}


async def deployed(world: World, node: Node, **more: Any) -> WorkloadView:
    await world.create(**spec(**more))
    await node.act()
    return await shown(world)


async def shown(world: World) -> WorkloadView:
    return await reading.get_workload(world.deps, GetByName(ref="web"))


async def patch(world: World, **changes: Any) -> Accepted:
    return await workload_update.update_workload(
        world.deps, UpdateWorkload(caller=CALLER, workload="web", patch=changes)
    )


async def to_version(world: World, version: str, **more: Any) -> Accepted:
    return await patch(world, env={"V": version}, **more)


async def operation(world: World, accepted: Accepted) -> OperationView:
    return await reading.get_operation(world.deps, GetByName(ref=accepted.operation.id))


async def history(world: World) -> list[RevisionView]:
    return list((await reading.list_revisions(world.deps, GetByName(ref="web"))).items)


async def scale(world: World, replicas: int) -> Accepted:
    request = ScaleWorkload(caller=CALLER, workload="web", replicas=replicas)
    return await workload_update.scale_workload(world.deps, request)


async def roll_back(world: World, revision: int | None = None) -> Accepted:
    request = RollbackWorkload(caller=CALLER, workload="web", revision=revision)
    return await workload_update.rollback_workload(world.deps, request)


# --- updates -----------------------------------------------------------------------------------------------


async def test_the_old_instance_serves_until_the_new_one_does(world: World, node: Node) -> None:
    await deployed(world, node)
    accepted = await to_version(world, "2")
    assert accepted.workload is not None and accepted.workload.revision == 2
    assert await node.settle() == [["1", "2"], ["2"]]
    assert (await operation(world, accepted)).state is OperationState.SUCCEEDED
    after = await shown(world)
    assert [i.revision for i in after.instances] == [2] and after.state is WorkloadState.RUNNING
    assert after.rollout is not None and after.rollout.state is RolloutState.SUCCEEDED


async def test_replicas_are_replaced_one_after_the_other(world: World, node: Node) -> None:
    await deployed(world, node, replicas=3)
    await to_version(world, "2")
    steps = await node.settle()
    assert [len(step) for step in steps] == [4, 3, 4, 3, 4, 3], "one more than wanted, never fewer"
    assert steps[-1] == ["2", "2", "2"]


async def test_with_a_volume_the_old_one_is_gone_first(world: World, node: Node) -> None:
    await deployed(world, node, volumes=[{"name": "data", "path": "/data"}])
    accepted = await to_version(world, "2")
    assert accepted.workload is not None and accepted.workload.rollout is not None
    rollout = accepted.workload.rollout
    assert rollout.order is UpdateOrder.STOP_FIRST and "volume" in rollout.reason
    assert await node.settle() == [[], ["2"]]
    assert (await operation(world, accepted)).state is OperationState.SUCCEEDED
    instances = (await shown(world)).instances
    assert [(i.slot, i.epoch) for i in instances] == [(0, 2)], "the volume's slot"


async def test_a_spec_that_changes_nothing_replaces_nothing(world: World, node: Node) -> None:
    before = await deployed(world, node)
    accepted = await to_version(world, "1")
    found = await operation(world, accepted)
    assert found.state is OperationState.SUCCEEDED and found.result == {"instances": 1, "changed": False}
    assert (await shown(world)).instances == before.instances and len(await history(world)) == 1


async def test_how_updates_are_done_can_change_without_one(world: World, node: Node) -> None:
    before = await deployed(world, node)
    accepted = await patch(world, update={"max_unavailable": 1})
    assert (await operation(world, accepted)).state is OperationState.SUCCEEDED
    after = await shown(world)
    assert [i.id for i in after.instances] == [i.id for i in before.instances]
    assert (after.revision, after.instances[0].revision) == (2, 2)


async def test_an_image_that_cannot_run_goes_back_by_itself(world: World, node: Node) -> None:
    before = await deployed(world, node)
    node.broken.add("2")
    accepted = await to_version(world, "2")
    await node.settle()
    found = await operation(world, accepted)
    assert found.state is OperationState.FAILED and found.problem is not None
    assert found.problem.code == "rolled_back" and "exited with 1" in found.problem.detail
    assert found.problem.log == ("no such flag",)
    after = await shown(world)
    assert [i.id for i in after.instances] == [i.id for i in before.instances], "it was never touched"
    assert after.revision == 1 and after.state is WorkloadState.RUNNING
    failed, first = await history(world)
    assert failed.rollout is not None and failed.rollout.state is RolloutState.ROLLED_BACK
    assert first.current and not failed.current


async def test_visitors_meet_the_old_guard_until_an_update_is_through(world: World, node: Node) -> None:
    guard = {"rate": "5/minute"}
    port = {"name": "http", "port": 8080, "public": True}
    await deployed(world, node, ports=[port | {"guard": guard}])
    node.broken.add("2")
    await to_version(world, "2", ports=[port])
    assert await rate_of(world) == "5/minute"
    await node.settle()
    assert (await shown(world)).revision == 1 and await rate_of(world) == "5/minute", "it went back"
    await to_version(world, "3", ports=[port | {"guard": {"rate": "9/minute"}}])
    await node.settle()
    assert (await shown(world)).spec.env == {"V": "3"} and await rate_of(world) == "9/minute"


async def rate_of(world: World) -> str | None:
    await world.relay.round()
    (route,) = await world.bus.newest_of_each(ROUTE)
    assert not route.message.released
    return route.message.guard.rate if route.message.guard else None


@pytest.mark.parametrize("way", ["fails", "is cancelled"])
async def test_an_update_of_what_was_only_starting_goes_back_once_that_serves(
    world: World, node: Node, way: str
) -> None:
    """Found by the simulation: nothing had worked when the update began, so its crash-looping instance stayed beside all that serve."""
    node.broken.add("2")
    await world.create(**spec(replicas=2))
    accepted = await to_version(world, "2")
    first = await shown(world)
    assert first.rollout is not None and first.rollout.state is RolloutState.RUNNING
    if way == "is cancelled":
        node.broken.clear()
        await node.act()
        cancel = OperationCommand(caller=CALLER, operation=accepted.operation.id)
        await belongings.cancel_operation(world.deps, cancel)
    await node.settle()
    view = await shown(world)
    assert view.rollout is not None and view.rollout.state is RolloutState.ROLLED_BACK, view.rollout
    assert view.revision == 1 and [i.revision for i in view.instances] == [1, 1]
    assert view.state is WorkloadState.RUNNING


async def test_what_is_not_healthy_in_time_goes_back(world: World, node: Node) -> None:
    await deployed(world, node)
    await to_version(world, "2", update={"healthy_deadline": "30s"})
    await node.act(ready=False)
    world.clock.jump(31)
    await Sweep(world.deps).round(everything=False)
    rollout = (await shown(world)).rollout
    assert rollout is not None and rollout.state is RolloutState.ROLLING_BACK
    assert "not healthy within 30 s" in rollout.reason


async def test_what_starts_and_ends_again_was_never_healthy(world: World, node: Node) -> None:
    """Without a check it is healthy as soon as it runs: so it must run for a while."""
    before = await deployed(world, node, update={"healthy_for": "5s"})
    accepted = await to_version(world, "2")
    await node.act()
    found = await operation(world, accepted)
    assert found.state is OperationState.RUNNING and "watching it for 5 s" in found.progress
    node.broken.add("2")
    await node.settle()
    assert (await operation(world, accepted)).state is OperationState.FAILED
    assert [i.id for i in (await shown(world)).instances] == [i.id for i in before.instances]


async def test_what_was_seen_to_stay_up_is_trusted_and_silence_is_no_proof(world: World, node: Node) -> None:
    """Found by the simulation: what ended while nobody could be heard was trusted, because time had passed."""
    await deployed(world, node, update={"healthy_for": "5s"})
    accepted = await to_version(world, "2")
    await node.act()
    world.clock.jump(60)
    await Sweep(world.deps).round(everything=False)
    assert (await operation(world, accepted)).state is OperationState.RUNNING
    await node.settle()
    assert (await operation(world, accepted)).state is OperationState.SUCCEEDED


async def test_what_serves_is_not_taken_back_because_nobody_could_see_it(world: World, node: Node) -> None:
    """The database was away for longer than an update may take: what was seen last is no reason to go back."""
    await deployed(world, node, update={"healthy_for": "5s", "healthy_deadline": "30s"})
    accepted = await to_version(world, "2")
    await node.act()
    world.clock.jump(300)
    await Sweep(world.deps).round(everything=True)
    rollout = (await shown(world)).rollout
    assert rollout is not None and rollout.state is RolloutState.RUNNING
    await node.settle()
    assert (await operation(world, accepted)).state is OperationState.SUCCEEDED


async def test_what_does_not_serve_is_taken_back_however_little_is_seen_of_it(
    world: World, node: Node
) -> None:
    await deployed(world, node, update={"healthy_for": "5s", "healthy_deadline": "30s"})
    await to_version(world, "2")
    await node.act(ready=False)
    world.clock.jump(300)
    await Sweep(world.deps).round(everything=True)
    rollout = (await shown(world)).rollout
    assert rollout is not None and rollout.state is not RolloutState.RUNNING


async def test_after_the_way_back_as_many_run_as_before(world: World, node: Node) -> None:
    """The revision that is gone back to may say another number: that of a time when nothing was to run."""
    await deployed(world, node)
    await scale(world, 0)
    await node.settle()
    await to_version(world, "2")
    await scale(world, 1)
    node.broken |= {"2", "3"}
    await to_version(world, "3")
    await node.settle()
    node.broken.clear()
    await to_version(world, "4")
    await node.settle()
    view = await shown(world)
    assert (view.spec.env, view.spec.replicas, len(view.instances)) == ({"V": "4"}, 1, 1)


async def test_data_is_kept_for_the_way_back(world: World, node: Node) -> None:
    await deployed(world, node, volumes=[{"name": "data", "path": "/data"}])
    await scale(world, 0)
    await node.settle()
    await patch(world, volumes=[], env={"V": "2"})
    await node.settle()
    async with world.deps.store.transaction() as tx:
        (volume,) = await tx.find(VolumeRow)
    assert volume.state == "bound" and volume.workload_id is not None


async def test_what_was_taken_while_nothing_ran_has_not_worked(world: World, node: Node) -> None:
    """Found by the simulation: an update of a workload that was scaled to nothing counted as one that works."""
    await deployed(world, node)
    await scale(world, 0)
    await node.settle()
    await to_version(world, "2")
    await node.settle()
    node.broken |= {"2", "3"}
    await scale(world, 1)
    await node.settle()
    accepted = await to_version(world, "3")
    await node.settle()
    assert (await operation(world, accepted)).state is OperationState.FAILED
    view = await shown(world)
    assert view.spec.env == {"V": "1"} and view.state is WorkloadState.RUNNING


async def test_what_flaps_is_not_waited_for_for_ever(world: World, node: Node) -> None:
    await deployed(world, node, update={"healthy_for": "5s", "healthy_deadline": "30s"})
    await to_version(world, "2")
    for _ in range(10):
        await node.act()
        world.clock.jump(2)
        await node.act(ready=False)
        world.clock.jump(2)
        await Sweep(world.deps).round(everything=False)
    rollout = (await shown(world)).rollout
    assert rollout is not None and rollout.state in (RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK)


async def test_without_room_it_goes_back(world: World, node: Node) -> None:
    await deployed(world, node, resources={"cpu": 3})
    accepted = await to_version(world, "2")
    world.clock.jump(121)
    await Sweep(world.deps).round(everything=False)
    await node.settle()
    found = await operation(world, accepted)
    assert found.state is OperationState.FAILED
    assert [i.revision for i in (await shown(world)).instances] == [1]


async def test_a_volume_goes_back_with_its_old_revision(world: World, node: Node) -> None:
    await deployed(world, node, volumes=[{"name": "data", "path": "/data"}])
    node.broken.add("2")
    accepted = await to_version(world, "2")
    assert await node.settle() == [[], ["2"], [], ["1"]]
    assert (await operation(world, accepted)).state is OperationState.FAILED
    assert [i.epoch for i in (await shown(world)).instances] == [3]
    async with world.deps.store.transaction() as tx:
        assert [row.state for row in await tx.find(VolumeRow)] == ["bound"]


async def test_the_first_revision_has_no_way_back(world: World, node: Node) -> None:
    node.broken |= {"1", "2"}
    await deployed(world, node)
    accepted = await to_version(world, "2")
    await node.settle()
    found = await operation(world, accepted)
    assert found.problem is not None and "no earlier revision has worked" in found.problem.detail


async def test_a_newer_update_takes_over(world: World, node: Node) -> None:
    await deployed(world, node)
    node.broken.add("2")
    first = await to_version(world, "2")
    second = await to_version(world, "3")
    await node.settle()
    assert (await operation(world, first)).state is OperationState.CANCELLED
    assert (await operation(world, second)).state is OperationState.SUCCEEDED
    assert [i.revision for i in (await shown(world)).instances] == [3]


async def test_the_same_update_again_is_the_one_under_way(world: World, node: Node) -> None:
    """Found by simulation (seed 3): asked for twice, a version that cannot run was no longer watched, and stayed."""
    await deployed(world, node)
    node.broken.add("2")
    first = await to_version(world, "2")
    assert (await to_version(world, "2")).operation.id == first.operation.id
    await node.settle()
    assert (await operation(world, first)).state is OperationState.FAILED
    assert [i.revision for i in (await shown(world)).instances] == [1]


async def test_what_the_update_is_about_is_not_changed_under_it(world: World, node: Node) -> None:
    await deployed(world, node)
    await to_version(world, "2")
    with pytest.raises(Conflict, match="being updated"):
        await patch(world, replicas=2)
    with pytest.raises(Conflict, match="being updated"):
        await workloads.start_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))


async def test_a_cancelled_update_goes_back(world: World, node: Node) -> None:
    before = await deployed(world, node)
    accepted = await to_version(world, "2")
    await node.act(ready=False)
    await belongings.cancel_operation(
        world.deps, OperationCommand(caller=CALLER, operation=accepted.operation.id)
    )
    await node.settle()
    after = await shown(world)
    assert [i.id for i in after.instances] == [i.id for i in before.instances]
    assert after.rollout is not None and after.rollout.state is RolloutState.ROLLED_BACK


async def test_a_stopped_workload_starts_with_its_newest_spec(world: World, node: Node) -> None:
    await deployed(world, node)
    await workloads.stop_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
    accepted = await to_version(world, "2")
    assert (await operation(world, accepted)).state is OperationState.SUCCEEDED
    await workloads.start_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
    await node.settle()
    assert [i.revision for i in (await shown(world)).instances] == [2]


@pytest.mark.parametrize("broken", [False, True], ids=["works", "does not work"])
async def test_what_was_updated_while_it_was_stopped_has_its_time_from_its_start_on(
    world: World, node: Node, broken: bool
) -> None:
    """Found by the simulation: nobody watched such an update any more, so what did not work stayed beside the earlier revision."""
    await deployed(world, node, replicas=2)
    await workloads.stop_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
    await to_version(world, "2", replicas=2)
    world.clock.jump(timedelta(days=1).total_seconds())
    if broken:
        node.broken.add("2")
    await workloads.start_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
    await node.settle()
    view = await shown(world)
    ended = RolloutState.ROLLED_BACK if broken else RolloutState.SUCCEEDED
    assert view.rollout is not None and view.rollout.state is ended, view.rollout
    assert view.state is WorkloadState.RUNNING
    assert [i.revision for i in view.instances] == ([1, 1] if broken else [2, 2])


async def test_a_stop_during_an_update_goes_back_first(world: World, node: Node) -> None:
    before = await deployed(world, node)
    await to_version(world, "2")
    await workloads.stop_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
    started = await workloads.start_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))
    await node.settle()
    assert (await operation(world, started)).state is OperationState.SUCCEEDED
    assert [i.id for i in (await shown(world)).instances] == [i.id for i in before.instances]


async def test_a_restart_waits_for_the_update(world: World, node: Node) -> None:
    await deployed(world, node)
    await to_version(world, "2")
    with pytest.raises(Conflict, match="lattice op cancel"):
        await workloads.restart_workload(world.deps, WorkloadCommand(caller=CALLER, workload="web"))


async def test_an_update_never_outlives_its_deadline(world: World, node: Node) -> None:
    await deployed(world, node)
    accepted = await to_version(world, "2", update={"auto_rollback": False})
    world.clock.jump(timedelta(hours=1).total_seconds())
    await Sweep(world.deps).round(everything=False)
    assert (await operation(world, accepted)).state is OperationState.FAILED


async def test_a_template_keeps_its_password_and_renews_its_certificate(world: World) -> None:
    await world.create(name="db", template="postgres")
    await world.place_all()
    first = await world.document()
    seen = ObservedContainer(
        key=first.instances[0].key, phase=Phase.RUNNING, health=Health.HEALTHY,
        instance_id=first.instances[0].instance_id,
    )  # fmt: skip
    await world.report(seen, generation=first.generation)
    ask = GetCredentials(caller=CALLER, workload="db")
    request = UpdateWorkload(caller=CALLER, workload="db", patch={"resources": {"memory": "1Gi"}})
    await workload_update.update_workload(world.deps, request)
    gone = await world.document()
    await world.report(generation=gone.generation)
    await world.place_all()
    second = await world.document()
    assert second.instances[0].run.volumes == first.instances[0].run.volumes
    assert {s.secret_id for s in first.secrets} == {s.secret_id for s in second.secrets}
    assert sorted(s.version for s in second.secrets) == [1, 2], "the password stays, the leaf is new"
    row = ObservedContainer(
        key=second.instances[0].key, phase=Phase.RUNNING, health=Health.HEALTHY,
        instance_id=second.instances[0].instance_id,
        ports=[{"name": "postgres", "container_port": 5432, "host_port": 40000}],
    )  # fmt: skip
    await world.report(row, generation=second.generation)
    assert (await credentials.get_credentials(world.deps, ask)).password


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "other"}, "a name cannot be changed"),
        ({"replicas": "many"}, "not valid"),
        ({"nonsense": 1}, "not valid"),
        ({"resources": {"cpu": 64}}, "no node is large enough"),
    ],
)
async def test_a_change_that_cannot_be_is_refused_whole(
    world: World, node: Node, changes: dict[str, Any], said: str
) -> None:
    await deployed(world, node)
    with pytest.raises(Invalid, match=said):
        await patch(world, **changes)
    assert len(await history(world)) == 1


async def test_a_stale_change_is_refused(world: World, node: Node) -> None:
    seen = await deployed(world, node)
    await to_version(world, "2")
    caller = CALLER.model_copy(update={"if_match": f'"{seen.version}"'})
    request = UpdateWorkload(caller=caller, workload="web", spec=WorkloadSpec(**spec("3")))
    with pytest.raises(StaleVersion):
        await workload_update.update_workload(world.deps, request)


# --- scaling -----------------------------------------------------------------------------------------------


async def test_scaling_touches_nothing_that_stays(world: World, node: Node) -> None:
    before = await deployed(world, node)
    accepted = await scale(world, 3)
    await node.settle()
    assert (await operation(world, accepted)).state is OperationState.SUCCEEDED
    grown = await shown(world)
    assert len(grown.instances) == 3 and before.instances[0].id in {i.id for i in grown.instances}
    await scale(world, 1)
    await node.settle()
    assert [i.id for i in (await shown(world)).instances] == [before.instances[0].id]
    assert [revision.spec.replicas for revision in await history(world)] == [1, 3, 1]


async def test_scaling_that_cannot_fit_says_what_it_waits_for(world: World, node: Node) -> None:
    await deployed(world, node, resources={"cpu": 3})
    accepted = await scale(world, 2)
    found = await operation(world, accepted)
    assert found.state is OperationState.RUNNING and found.progress.startswith("1/2 ready")


async def test_data_limits_the_number(world: World, node: Node) -> None:
    await deployed(world, node, volumes=[{"name": "data", "path": "/data"}])
    with pytest.raises(Invalid, match="at most 1 with a volume"):
        await scale(world, 2)


async def test_scaling_waits_for_an_update(world: World, node: Node) -> None:
    await deployed(world, node)
    await to_version(world, "2")
    with pytest.raises(Conflict, match="being updated"):
        await scale(world, 2)


# --- earlier revisions -------------------------------------------------------------------------------------


async def test_a_rollback_brings_image_environment_and_secrets_back(world: World, node: Node) -> None:
    async def secret(value: str) -> None:
        await belongings.set_secret(world.deps, SetSecret(caller=CALLER, name="key", value=value))

    await secret("one")
    await deployed(world, node, secrets={"KEY": {"from": "key"}})
    await secret("two")
    await to_version(world, "2")
    await node.settle()
    await scale(world, 2)
    await node.settle()
    accepted = await roll_back(world, 1)
    assert await node.settle() == [["1", "2", "2"], ["1", "2"], ["1", "1", "2"], ["1", "1"]]
    assert (await operation(world, accepted)).state is OperationState.SUCCEEDED
    after = await shown(world)
    assert after.revision == 4 and after.spec.replicas == 2, "as many as now"
    document = await world.document()
    assert [value.version for value in document.secrets] == [1]


async def test_a_rollback_without_a_number_skips_what_failed(world: World, node: Node) -> None:
    await deployed(world, node)
    node.broken.add("2")
    await to_version(world, "2")
    await node.settle()
    await to_version(world, "3")
    await node.settle()
    await roll_back(world)
    await node.settle()
    assert (await shown(world)).spec.env == {"V": "1"}


async def test_a_new_secret_is_a_reason_to_update(world: World, node: Node) -> None:
    await belongings.set_secret(world.deps, SetSecret(caller=CALLER, name="key", value="one"))
    await deployed(world, node, secrets={"KEY": {"from": "key"}})
    await belongings.set_secret(world.deps, SetSecret(caller=CALLER, name="key", value="two"))
    await patch(world)
    await node.settle()
    assert (await shown(world)).revision == 2


async def test_there_must_be_something_to_go_back_to(world: World, node: Node) -> None:
    await deployed(world, node)
    with pytest.raises(NotFound, match="no earlier revision"):
        await roll_back(world)
    with pytest.raises(NotFound, match="no revision 7"):
        await roll_back(world, 7)
    with pytest.raises(Conflict, match="already"):
        await roll_back(world, 1)


async def test_a_secret_that_was_removed_cannot_come_back(world: World, node: Node) -> None:
    await belongings.set_secret(world.deps, SetSecret(caller=CALLER, name="key", value="one"))
    await deployed(world, node, secrets={"KEY": {"from": "key"}})
    await patch(world, secrets=None)
    with pytest.raises(Conflict, match="is used by web"):  # the instance that still serves has it
        await belongings.delete_secret(world.deps, DeleteSecret(caller=CALLER, name="key"))
    await node.settle()
    await belongings.delete_secret(world.deps, DeleteSecret(caller=CALLER, name="key"))
    with pytest.raises(Conflict, match="secret that was removed"):
        await roll_back(world, 1)


async def test_what_happened_is_told(world: World, node: Node) -> None:
    await deployed(world, node)
    node.broken.add("2")
    await to_version(world, "2")
    await node.settle()
    await world.relay.round()
    facts = (await reading.list_facts(world.deps, ListFacts(entity="workload"))).facts
    assert [fact.verb for fact in facts] == [
        "created",
        "updated",
        "update_rolling_back",
        "update_rolled_back",
    ]
    async with world.deps.store.transaction() as tx:
        assert await tx.count(InstanceRow, gone_at=None) == 1
