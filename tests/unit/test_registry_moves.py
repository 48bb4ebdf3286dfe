"""Work that leaves a node, in the registry alone: drains, losses, and what comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lattice.contracts.catalogue import DESIRED_DOCUMENT
from lattice.contracts.messages import (
    CommitPlacements,
    DeleteWorkload,
    DesiredDocument,
    DrainNode,
    GetByName,
    ListFacts,
    ListRuns,
    NodeCommand,
    OperationCommand,
    Placement,
    PlacementRequest,
    SchedulingQuery,
    UnplaceableInstance,
    UpdateWorkload,
)
from lattice.contracts.nouns import (
    ContainerKey,
    Health,
    JobRun,
    JobRunState,
    Liveness,
    NodeState,
    ObservedContainer,
    OperationState,
    Phase,
    RunTrigger,
)
from lattice.contracts.views import Accepted, OperationView, WorkloadView
from lattice.errors import Conflict, NotFound
from lattice.sealing import new_sealing_key
from services.registry import belongings, job_runs, nodes, reading, scheduling, workload_update, workloads
from services.registry.change import SYSTEM
from services.registry.drains import OnNode, drain_step
from services.registry.judging import _say
from services.registry.liveness import MassLoss
from services.registry.node_deps import NodeDeps
from services.registry.node_rows import become, find_node
from services.registry.sweep import Sweep
from services.registry.tables import InstanceRow
from tests.fixtures.registry_world import CALLER, NODE, OTHER, World, node_row


class Fleet:
    """The world with a second node; both do what their documents say, except while they are away."""

    def __init__(self, world: World, node_deps: NodeDeps) -> None:
        self.world, self.nodes = world, node_deps
        self.away: set[str] = set()
        self.broken: set[str] = set()
        """Nodes on which nothing works since `failing_since`."""
        self.failing_since = world.clock.now()

    async def place(self) -> None:
        """What the scheduler does: the ready node with the fewest instances."""
        snapshot = await scheduling.scheduling_snapshot(self.world.deps, SchedulingQuery())
        for wanted in snapshot.wanted:
            fresh = await scheduling.scheduling_snapshot(self.world.deps, SchedulingQuery())
            ready = [
                node for node in fresh.nodes if node.state == "ready" and node.node_id not in wanted.avoid
            ]
            if not ready:
                await self._refuse(fresh.term, wanted)
                continue
            best = min(ready, key=lambda node: (sum(node.workloads.values()), node.name))
            place = Placement(
                instance_id=wanted.instance_id,
                workload_id=wanted.workload_id,
                workload_generation=wanted.workload_generation,
                node_id=best.node_id,
                placement_version=best.placement_version,
                score=1.0,
                reason="it has the fewest instances",
            )
            await scheduling.commit_placements(
                self.world.deps, CommitPlacements(term=fresh.term, placements=(place,))
            )

    async def _refuse(self, term: int, wanted: PlacementRequest) -> None:
        none = UnplaceableInstance(
            instance_id=wanted.instance_id, workload_id=wanted.workload_id, summary="no node fits"
        )
        await scheduling.commit_placements(self.world.deps, CommitPlacements(term=term, unplaceable=(none,)))

    async def act(self, *, rounds: int = 4) -> None:
        """Sweep, place and report, a few times over."""
        for _ in range(rounds):
            await Sweep(self.world.deps).round(everything=False)
            await self.place()
            await self.world.relay.round()
            for node_id in {NODE, OTHER} - self.away:
                await self._report(node_id)
        await Sweep(self.world.deps).round(everything=False)

    async def _report(self, node_id: str) -> None:
        document = await self.document(node_id)
        if document is None:
            return
        fine: dict[str, Any] = {"phase": Phase.RUNNING, "health": Health.HEALTHY}
        failing = {"phase": Phase.FAILED, "reason": "exited with 1", "failing_since": self.failing_since}
        state = failing if node_id in self.broken else fine
        seen = tuple(
            ObservedContainer(key=instance.key, instance_id=instance.instance_id, **state)
            for instance in document.instances
        )
        await self.world.report(*seen, generation=document.generation, node_id=node_id)

    async def document(self, node_id: str) -> DesiredDocument | None:
        received = await self.world.bus.last(DESIRED_DOCUMENT, node_id=node_id)
        return received.message if received else None

    async def become(self, node_id: str, liveness: Liveness) -> None:
        self.away = self.away | {node_id} if liveness is Liveness.UNREACHABLE else self.away - {node_id}
        async with self.world.deps.change(SYSTEM, action="test") as change:
            become(change, await find_node(change.tx, node_id, lock=True), liveness)

    async def drain(self, node_id: str) -> Accepted:
        return await nodes.drain_node(self.nodes, DrainNode(caller=CALLER, node=node_id))

    async def shown(self, name: str = "web") -> WorkloadView:
        return await reading.get_workload(self.world.deps, GetByName(ref=name))

    async def where(self, name: str = "web") -> list[str | None]:
        return [instance.node for instance in (await self.shown(name)).instances]

    async def operation(self, accepted: Accepted) -> OperationView:
        return await reading.get_operation(self.world.deps, GetByName(ref=accepted.operation.id))


@pytest.fixture
async def fleet(world: World) -> AsyncIterator[Fleet]:
    async with world.deps.store.transaction() as tx:
        tx.add(node_row(OTHER, "two", new_sealing_key(), world.clock.now()))
    yield Fleet(world, NodeDeps(world.deps, issuer=None))  # type: ignore[arg-type]  # nobody signs anything here


async def web(fleet: Fleet, **more: Any) -> None:
    await fleet.world.create(**({"name": "web", "image": "app:1", "update": {"healthy_for": 0}} | more))
    await fleet.act()


DATA = {"volumes": [{"name": "data", "path": "/data"}]}


# --- drains ------------------------------------------------------------------------------------------------


async def test_a_drain_moves_what_can_be_moved_and_serves_meanwhile(fleet: Fleet) -> None:
    await web(fleet)
    assert await fleet.where() == ["one"]
    accepted = await fleet.drain("one")
    assert accepted.node is not None and accepted.node.state is NodeState.DRAINING
    await Sweep(fleet.world.deps).round(everything=False)
    assert await fleet.where() == ["one", None], "the new one is made before the old one goes"
    await fleet.act()
    assert await fleet.where() == ["two"]
    found = await fleet.operation(accepted)
    assert found.state is OperationState.SUCCEEDED and found.result == {"moved": 1}


async def test_what_holds_data_blocks_and_is_named(fleet: Fleet) -> None:
    await web(fleet, **DATA)
    await web(fleet, name="two", replicas=2)
    accepted = await fleet.drain("one")
    await fleet.act()
    found = await fleet.operation(accepted)
    assert found.state is OperationState.FAILED and found.problem is not None
    assert found.problem.code == "drain_blocked" and "web cannot" in found.problem.detail
    assert found.result is not None and found.result["blockers"] == {"web": "its data is on this node"}
    (blocker,) = (await nodes.get_node(fleet.nodes, GetByName(ref="one"))).blockers
    assert (blocker.workload, blocker.reason) == ("web", "its data is on this node")
    assert await fleet.where("web") == ["one"] and await fleet.where("two") == ["two", "two"]


async def test_an_empty_node_is_drained_at_once(fleet: Fleet) -> None:
    assert (await fleet.drain("one")).operation.state is OperationState.SUCCEEDED


async def test_without_another_place_a_drain_waits_and_harms_nobody(fleet: Fleet) -> None:
    await web(fleet)
    await fleet.become(OTHER, Liveness.UNREACHABLE)
    accepted = await fleet.drain("one")
    await fleet.act()
    found = await fleet.operation(accepted)
    assert found.progress == "1 still to move: web (no node fits)"
    assert found.result == {"blockers": {"web": "no node fits"}}
    (blocker,) = (await nodes.get_node(fleet.nodes, GetByName(ref="one"))).blockers
    assert (blocker.workload, blocker.reason) == ("web", "no node fits")
    assert (await fleet.shown()).instances[0].state == "running"
    fleet.world.clock.jump(3601)
    await fleet.act(rounds=1)
    found = await fleet.operation(accepted)
    assert found.state is OperationState.FAILED and found.problem is not None
    assert "web (no node fits)" in found.problem.detail and found.result == {
        "blockers": {"web": "no node fits"}
    }


@pytest.mark.parametrize("how", ["cancel", "uncordon"])
async def test_a_drain_can_be_taken_back(fleet: Fleet, how: str) -> None:
    await web(fleet)
    await fleet.become(OTHER, Liveness.UNREACHABLE)
    accepted = await fleet.drain("one")
    await fleet.act()
    if how == "cancel":
        command = OperationCommand(caller=CALLER, operation=accepted.operation.id)
        await belongings.cancel_operation(fleet.world.deps, command)
    else:
        await nodes.uncordon_node(fleet.nodes, NodeCommand(caller=CALLER, node="one"))
    await fleet.become(OTHER, Liveness.READY)
    await fleet.act()
    assert (await fleet.operation(accepted)).state is OperationState.CANCELLED
    assert await fleet.where() == ["one"]
    view = await nodes.get_node(fleet.nodes, GetByName(ref="one"))
    assert view.state is (NodeState.CORDONED if how == "cancel" else NodeState.READY)


def test_stopped_work_is_in_nobodys_way() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    step = drain_step([OnNode(workload="web", stopped=True)], total=0, deadline=now, now=now)
    assert step.state is OperationState.SUCCEEDED


# --- losses ------------------------------------------------------------------------------------------------


async def test_work_of_a_lost_node_moves_after_its_time_and_not_before(fleet: Fleet) -> None:
    await web(fleet, on_node_loss={"lost_after": "30s"})
    await fleet.become(NODE, Liveness.UNREACHABLE)
    fleet.world.clock.jump(29)
    await fleet.act()
    assert await fleet.where() == ["one"]
    fleet.world.clock.jump(1)
    await fleet.act()
    states = [(i.node, i.state) for i in (await fleet.shown()).instances]
    assert states == [("one", "stopping"), ("two", "running")]


async def test_a_node_that_returns_has_what_it_ought_to_have(fleet: Fleet) -> None:
    await web(fleet)
    await fleet.become(NODE, Liveness.UNREACHABLE)
    fleet.world.clock.jump(60)
    await fleet.act()
    await fleet.become(NODE, Liveness.READY)
    document = await fleet.document(NODE)
    assert document is not None and document.instances == () and len(document.tombstones) == 1
    await fleet.act()
    assert await fleet.where() == ["two"]


async def test_one_that_returns_in_time_is_left_as_it_is(fleet: Fleet) -> None:
    await web(fleet)
    before = (await fleet.shown()).instances
    await fleet.become(NODE, Liveness.UNREACHABLE)
    fleet.world.clock.jump(59)
    await fleet.act()
    await fleet.become(NODE, Liveness.JOINING)
    fleet.world.clock.jump(600)
    await fleet.act()
    assert [i.id for i in (await fleet.shown()).instances] == [i.id for i in before]


async def test_a_volume_says_what_its_state_means(fleet: Fleet) -> None:
    await web(fleet, **DATA)
    ask = GetByName(ref="web-data")

    async def shown() -> tuple[str, str | None, str | None, str]:
        view = await reading.get_volume(fleet.world.deps, ask)
        return view.state, view.node, view.workload, view.reason

    assert await shown() == ("bound", "one", "web", "")
    await fleet.become(NODE, Liveness.UNREACHABLE)
    state, _, _, reason = await shown()
    assert state == "held" and "node one cannot be reached" in reason
    await fleet.become(NODE, Liveness.READY)
    await workloads.delete_workload(fleet.world.deps, DeleteWorkload(caller=CALLER, workload="web"))
    await fleet.act()
    state, node, workload, reason = await shown()
    assert (state, node, workload) == ("released", "one", None) and "--adopt" in reason
    with pytest.raises(NotFound):
        await reading.get_volume(fleet.world.deps, GetByName(ref="other"))


async def test_data_is_held(fleet: Fleet) -> None:
    await web(fleet, **DATA)
    await fleet.become(NODE, Liveness.UNREACHABLE)
    fleet.world.clock.jump(10_000)
    await fleet.act()
    (instance,) = (await fleet.shown()).instances
    assert (instance.node, instance.state) == ("one", "held")


async def test_when_many_vanish_nothing_moves_until_people_say_so(fleet: Fleet) -> None:
    await web(fleet)
    async with fleet.world.deps.change(SYSTEM, action="test") as change:
        await _say(change, MassLoss((NODE, "nd-x"), 3), timedelta(minutes=15))
    await fleet.become(NODE, Liveness.UNREACHABLE)
    fleet.world.clock.jump(14 * 60)
    await fleet.act()
    assert await fleet.where() == ["one"]
    await nodes.confirm_lost(fleet.nodes, NodeCommand(caller=CALLER, node="one"))
    await fleet.act()
    assert await fleet.where() == ["one", "two"]


async def test_a_node_that_is_there_is_not_lost(fleet: Fleet) -> None:
    with pytest.raises(Conflict, match="lattice node drain one"):
        await nodes.confirm_lost(fleet.nodes, NodeCommand(caller=CALLER, node="one"))


async def test_why_an_instance_moved_is_told(fleet: Fleet) -> None:
    await web(fleet)
    await fleet.become(NODE, Liveness.UNREACHABLE)
    fleet.world.clock.jump(60)
    await fleet.act()
    facts = (await reading.list_facts(fleet.world.deps, ListFacts(entity="instance"))).facts
    assert [fact.cause for fact in facts if fact.verb == "displaced"] == ["node one is lost"]


async def test_a_loss_in_the_middle_of_an_update_ends_well(fleet: Fleet) -> None:
    await web(fleet, replicas=2)
    assert sorted(map(str, await fleet.where())) == ["one", "two"]
    request = UpdateWorkload(caller=CALLER, workload="web", patch={"env": {"V": "2"}})
    await workload_update.update_workload(fleet.world.deps, request)
    await fleet.become(NODE, Liveness.UNREACHABLE)
    fleet.world.clock.jump(60)
    await fleet.act(rounds=8)
    live = [i for i in (await fleet.shown()).instances if i.state == "running"]
    assert [(i.node, i.revision) for i in live] == [("two", 2), ("two", 2)]


# --- what keeps failing ------------------------------------------------------------------------------------


async def failing_web(fleet: Fleet, *nodes: str, **more: Any) -> None:
    await web(fleet, **more)
    fleet.broken, fleet.failing_since = set(nodes), fleet.world.clock.now()
    await fleet.act(rounds=1)


async def test_what_keeps_failing_is_replaced_elsewhere_after_its_time_and_told(fleet: Fleet) -> None:
    await failing_web(fleet, NODE)
    fleet.world.clock.jump(599)
    await fleet.act()
    assert await fleet.where() == ["one"]
    fleet.world.clock.jump(1)
    await Sweep(fleet.world.deps).round(everything=False)
    assert await fleet.where() == ["one", None], "it is tried where it is until another serves"
    await fleet.act()
    (instance,) = (await fleet.shown()).instances
    assert (instance.node, instance.state) == ("two", "running")
    (place,) = (await fleet.shown()).placement
    assert place.reason.endswith("; before that it kept failing on node one for 10 min: exited with 1")
    facts = (await reading.list_facts(fleet.world.deps, ListFacts(entity="instance"))).facts
    why = "it kept failing on node one for 10 min: exited with 1"
    assert [(f.verb, f.cause) for f in facts if f.verb in ("rescheduled", "displaced")] == [
        ("rescheduled", why),
        ("displaced", why),
    ]


async def test_one_that_recovers_before_another_serves_stays(fleet: Fleet) -> None:
    await failing_web(fleet, NODE)
    await fleet.become(OTHER, Liveness.SUSPECT)
    fleet.world.clock.jump(600)
    await fleet.become(OTHER, Liveness.READY)
    await Sweep(fleet.world.deps).round(everything=False)
    assert await fleet.where() == ["one", None]
    fleet.broken.clear()
    await fleet._report(NODE)
    await fleet.act()
    assert await fleet.where() == ["one"] and (await fleet.shown()).state == "running"


@pytest.mark.parametrize(
    "more",
    [
        DATA,
        {"restart": {"reschedule_after": None}},
        {"placement": {"constraints": ["node == one"]}},
        {"placement": {"pools": ["default", "gpu"]}, "alone": True},
    ],
    ids=["data", "never", "pinned", "alone"],
)
async def test_what_has_no_other_node_is_tried_where_it_is(fleet: Fleet, more: dict[str, Any]) -> None:
    alone = more.pop("alone", False)
    await failing_web(fleet, NODE, **more)
    if alone:
        await fleet.become(OTHER, Liveness.UNREACHABLE)
    before = (await fleet.shown()).instances
    fleet.world.clock.jump(86_400)
    await fleet.act()
    assert [i.id for i in (await fleet.shown()).instances] == [i.id for i in before]


async def test_what_fails_everywhere_moves_ever_more_seldom(fleet: Fleet) -> None:
    await failing_web(fleet, NODE, OTHER)
    moved_at: list[int] = []
    at, ids = 0, {i.id for i in (await fleet.shown()).instances}
    while at < 6 * 3600:
        fleet.world.clock.jump(60)
        at += 60
        await fleet.act(rounds=1)
        for instance in (await fleet.shown()).instances:
            if instance.id not in ids:
                ids.add(instance.id)
                moved_at.append(at)
                fleet.failing_since = fleet.world.clock.now()
    gaps = [later - earlier for earlier, later in zip([0, *moved_at], moved_at, strict=False)]
    assert gaps[0] == 600 and gaps == sorted(gaps) and len(moved_at) <= 10, gaps
    assert gaps[-1] >= 3600, "and at last once an hour"


async def test_a_stop_first_workload_that_fails_is_tried_elsewhere_too(fleet: Fleet) -> None:
    await failing_web(fleet, NODE, update={"order": "stop-first", "healthy_for": 0})
    fleet.world.clock.jump(600)
    await fleet.act(rounds=6)
    (instance,) = (await fleet.shown()).instances
    assert (instance.node, instance.state) == ("two", "running") and instance.epoch == 2


async def test_where_no_other_takes_it_a_stop_first_one_goes_back(fleet: Fleet) -> None:
    await failing_web(fleet, NODE, update={"order": "stop-first", "healthy_for": 0})
    fleet.world.clock.jump(600)
    await Sweep(fleet.world.deps).round(everything=False)
    await fleet.become(OTHER, Liveness.UNREACHABLE)
    await fleet.act(rounds=6)
    (instance,) = (await fleet.shown()).instances
    assert (instance.node, instance.epoch) == ("one", 2), "running where it failed is better than not running"


# --- jobs --------------------------------------------------------------------------------------------------


async def _tell_run(fleet: Fleet, node_id: str, run_id: str, state: JobRunState, serial: int) -> None:
    """The node says how a run of its job goes."""
    async with fleet.world.deps.store.transaction() as tx:
        (row,) = await tx.find(InstanceRow, node_id=node_id)
    key = ContainerKey(workload_id=row.workload_id, slot=row.slot, epoch=row.epoch)
    trigger, at = RunTrigger.DEPLOY, fleet.world.clock.now()
    run = JobRun(
        run_id=run_id, key=key, instance_id=row.id, trigger=trigger, scheduled_at=at, state=state, serial=serial
    )  # fmt: skip
    await fleet.world.report(generation=0, complete=False, node_id=node_id, runs=(run,))


async def _asked(fleet: Fleet, node_id: str) -> list[str]:
    document = await fleet.document(node_id)
    assert document is not None
    return [request.run_id for instance in document.instances for request in instance.run_requests]


async def test_a_run_on_a_lost_node_is_asked_for_again_and_its_late_end_is_kept(fleet: Fleet) -> None:
    await web(fleet, kind="job")
    (run_id,) = await _asked(fleet, NODE)
    await _tell_run(fleet, NODE, run_id, JobRunState.RUNNING, serial=1)
    await fleet.become(NODE, Liveness.UNREACHABLE)
    await fleet.act()
    assert await fleet.where() == ["one"]
    fleet.world.clock.advance(61)
    await fleet.act()
    assert await fleet.where() == ["one", "two"] and await _asked(fleet, OTHER) == [run_id]
    await _tell_run(fleet, OTHER, run_id, JobRunState.RUNNING, serial=1)
    await _tell_run(fleet, NODE, run_id, JobRunState.SUCCEEDED, serial=2)
    await _tell_run(fleet, OTHER, run_id, JobRunState.FAILED, serial=2)
    await fleet.world.relay.round()
    assert await _asked(fleet, OTHER) == []
    listed = await job_runs.list_runs(fleet.world.deps, ListRuns(ref="web"))
    seen = {(run.node, run.state, run.duplicate) for run in listed.items}
    assert seen == {("two", JobRunState.FAILED, False), ("one", JobRunState.SUCCEEDED, True)}


async def test_a_job_that_is_done_is_not_done_again_where_it_moves_to(fleet: Fleet) -> None:
    await web(fleet, kind="job")
    (run_id,) = await _asked(fleet, NODE)
    await _tell_run(fleet, NODE, run_id, JobRunState.SUCCEEDED, serial=1)
    await fleet.drain("one")
    await fleet.act()
    assert await fleet.where() == ["two"] and await _asked(fleet, OTHER) == []
