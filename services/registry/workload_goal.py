"""How a revision becomes the goal of a workload: what is written, what the first steps are, and which operation watches the rest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from lattice.contracts.messages import RunSpec
from lattice.contracts.nouns import DesiredState, OperationState, RolloutState
from lattice.contracts.spec import WorkloadSpec
from lattice.contracts.views import Accepted
from lattice.errors import NotFound
from services.registry import converging, links, operations, routes
from services.registry.change import Change
from services.registry.operations import Kind
from services.registry.rollout import order_of
from services.registry.tables import (
    InstanceRow,
    NodeRow,
    OperationRow,
    RevisionRow,
    RolloutRow,
    WorkloadRow,
)
from services.registry.workload_rows import lock_instances, tell
from services.registry.workload_views import node_words, workload_view


@dataclass(frozen=True, slots=True)
class Target:
    """What a command leads to: its revision, and whether the containers are replaced."""

    kind: Kind
    revision: RevisionRow
    replaces: bool


async def aim(change: Change, workload: WorkloadRow, before: RevisionRow, target: Target) -> Accepted:
    """Make a revision the goal, take the first steps, and answer with the operation that watches the rest."""
    revision = target.revision
    spec = WorkloadSpec.model_validate(revision.spec)
    routes.check(change, workload, spec)
    _record(change, workload, before, target)
    stable = await _stable_revision(change, workload, before)
    if not target.replaces:
        await _take_over(change, workload, revision)
        stable = revision.number if stable == before.number else stable
    await operations.supersede(change, workload.id, by=target.kind)
    await converging.supersede(change, workload)
    operation = operations.begin(
        change,
        target.kind,
        workload,
        takes=_takes(spec, target),
    )
    change.tx.update(
        workload,
        revision=revision.number,
        replicas=spec.replicas,
        generation=workload.generation + 1,
        updated_at=change.now,
        settled=False,
        stable_revision=stable,
        keeps_apart=workload.keeps_apart or spec.placement.keeps_apart,
    )
    if target.replaces:
        _begin_rollout(change, workload, revision, operation.id)
    verb = {Kind.SCALE: "scaled", Kind.ROLLBACK: "rolling_back"}.get(target.kind, "updated")
    tell(change, workload, verb, {"from": before.number, "to": revision.number})
    await change.tx.flush()
    if workload.desired == DesiredState.RUNNING:
        await converging.bring_on(change, workload)
    else:
        _end_at_rest(change, operation)
    if not target.replaces or workload.desired != DesiredState.RUNNING:
        # An update of what runs claims its names when it is through: until then the old instances serve.
        await routes.claim(change, workload, revision)
    await links.touch(change, workload)
    return await _answer(change, workload, revision, operation)


def _takes(spec: WorkloadSpec, target: Target) -> timedelta:
    """There and back again: each instance may take its deadline in both directions."""
    rounds = 2 * max(1, spec.replicas) if target.replaces else max(1, spec.replicas)
    return max(
        operations.DEADLINES[target.kind], timedelta(seconds=spec.update.healthy_deadline * (rounds + 1))
    )


def _record(change: Change, workload: WorkloadRow, before: RevisionRow, target: Target) -> None:
    change.audit(
        "workload",
        workload.id,
        entity_name=workload.name,
        project=workload.project,
        before={"revision": before.number, "spec": before.spec},
        after={"revision": target.revision.number, "spec": target.revision.spec},
    )


async def _take_over(change: Change, workload: WorkloadRow, revision: RevisionRow) -> None:
    """The instances run as the new revision says: they are its own from now on."""
    for row in await lock_instances(change, workload.id):
        if row.revision == workload.revision and row.desired != DesiredState.REMOVED:
            change.tx.update(row, revision=revision.number)


async def _stable_revision(change: Change, workload: WorkloadRow, before: RevisionRow) -> int | None:
    """The revision that may be gone back to: what serves now, however young, unless it is an update that is not through yet."""
    if await converging.active_rollout(change, workload.id) is not None:
        return workload.stable_revision
    serving = [
        row
        for row in await lock_instances(change, workload.id)
        if row.revision == before.number and row.unready_since is None and (row.proven or not row.restarts)
    ]
    for row in serving:
        change.tx.update(row, proven=True)
    return before.number if serving else workload.stable_revision


def _begin_rollout(change: Change, workload: WorkloadRow, revision: RevisionRow, operation_id: str) -> None:
    run = RunSpec.model_validate(revision.run)
    order, reason = order_of(WorkloadSpec.model_validate(revision.spec).update, run)
    change.tx.add(
        RolloutRow(
            id=change.new_id("ro"),
            workload_id=workload.id,
            from_revision=workload.stable_revision,
            to_revision=revision.number,
            update_order=order,
            order_reason=reason,
            state=RolloutState.RUNNING,
            operation_id=operation_id,
            started_at=change.now,
        )
    )


def _end_at_rest(change: Change, operation: OperationRow) -> None:
    """Nothing runs, so nothing has to be replaced: the goal counts from the next start on."""
    step = operations.Step(OperationState.SUCCEEDED, "", 100, result={"instances": 0})
    operations.apply_step(change, operation, step)


async def under_way(
    change: Change, workload: WorkloadRow, revision: RevisionRow, rollout: RolloutRow
) -> Accepted:
    """The same was asked for before and is being rolled out: the operation that watches it is the answer."""
    operation = await change.tx.get(OperationRow, rollout.operation_id)
    if operation is None:
        raise NotFound(f"operation {rollout.operation_id} is gone")
    return await _answer(change, workload, revision, operation)


async def nothing_to_do(change: Change, kind: Kind, workload: WorkloadRow, revision: RevisionRow) -> Accepted:
    """The workload is as asked for: said with an operation that has ended, so that a script need not tell the cases apart."""
    operation = operations.begin(
        change,
        kind,
        workload,
    )
    result = {"instances": workload.replicas, "changed": False}
    operations.apply_step(
        change, operation, operations.Step(OperationState.SUCCEEDED, "", 100, result=result)
    )
    return await _answer(change, workload, revision, operation)


async def _answer(
    change: Change, workload: WorkloadRow, revision: RevisionRow, operation: OperationRow
) -> Accepted:
    await change.tx.flush()
    instances = await change.tx.find(InstanceRow, workload_id=workload.id, gone_at=None)
    nodes = node_words(await change.tx.find(NodeRow, removed_at=None))
    rollout = await converging.active_rollout(change, workload.id)
    view = workload_view(workload, revision, instances, nodes, rollout)
    return Accepted(operation=operations.operation_view(operation), workload=view)
