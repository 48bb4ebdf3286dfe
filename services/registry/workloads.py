"""Requests that change a workload: stop, start, restart, remove.

Each loads with a lock, checks the version that the caller saw, writes what is wanted, and answers with the operation that watches it come true.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lattice.contracts.messages import DeleteWorkload, WorkloadCommand
from lattice.contracts.nouns import DesiredState, Liveness, Phase, VolumeState
from lattice.contracts.views import Accepted
from lattice.errors import Conflict, NotFound, StaleVersion
from lattice.storage import Transaction
from services.registry import accept, operations
from services.registry.change import Change, Deps
from services.registry.idempotency import remember, replay
from services.registry.node_rows import holder_of
from services.registry.operations import Kind
from services.registry.tables import InstanceRow, NodeRow, RevisionRow, VolumeRow, WorkloadRow
from services.registry.workload_views import node_words, workload_view


class Found(NamedTuple):
    """A workload with what belongs to it."""

    workload: WorkloadRow
    instances: list[InstanceRow]


async def find_workload(tx: Transaction, project: str, ref: str, *, lock: bool = False) -> WorkloadRow:
    """The workload with this id or name; removed ones are not found."""
    rows = await tx.find(WorkloadRow, project=project, name=ref, removed_at=None, lock=lock)
    if not rows:
        rows = await tx.find(WorkloadRow, project=project, id=ref, removed_at=None, lock=lock)
    if not rows:
        raise NotFound(f"there is no workload {ref!r} in project {project}; `lattice ps` shows all")
    return rows[0]


async def _load(change: Change, request: WorkloadCommand) -> Found:
    workload = await find_workload(change.tx, request.project, request.workload, lock=True)
    if request.caller.if_match not in (None, "*", f'"{workload.version}"', str(workload.version)):
        raise StaleVersion(
            f"workload {workload.name} changed meanwhile: it is at version {workload.version}; look again"
        )
    if workload.desired == DesiredState.REMOVED:
        raise Conflict(f"workload {workload.name} is being removed")
    instances = await change.tx.find(InstanceRow, workload_id=workload.id, gone_at=None, lock=True)
    return Found(workload, instances)


async def stop_workload(deps: Deps, request: WorkloadCommand) -> Accepted:
    """Stop all instances; containers, places and volumes stay."""
    async with deps.change(request.caller, action="workload.stop") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        found = await _load(change, request)
        workload = _set_desired(change, found.workload, DesiredState.STOPPED)
        live = [i for i in found.instances if i.desired != DesiredState.REMOVED]
        for instance in live:
            changes = {} if instance.node_id else {"phase": Phase.STOPPED}
            change.tx.update(instance, desired=DesiredState.STOPPED, **changes)
        await touch_nodes(change, live)
        return await _answer(change, Kind.STOP, workload, live, "stopped")


async def start_workload(deps: Deps, request: WorkloadCommand) -> Accepted:
    """Start a stopped workload where it was."""
    async with deps.change(request.caller, action="workload.start") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        found = await _load(change, request)
        workload = _set_desired(change, found.workload, DesiredState.RUNNING)
        live = [i for i in found.instances if i.desired != DesiredState.REMOVED]
        for instance in live:
            changes = {} if instance.node_id else {"phase": Phase.PENDING}
            change.tx.update(instance, desired=DesiredState.RUNNING, **changes)
        await touch_nodes(change, live)
        change.wake_scheduler(workload.id)
        return await _answer(change, Kind.START, workload, live, "started")


async def restart_workload(deps: Deps, request: WorkloadCommand) -> Accepted:
    """Replace every instance by one with a new epoch; each slot's old container is gone before its new one starts."""
    async with deps.change(request.caller, action="workload.restart") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        found = await _load(change, request)
        workload = _set_desired(change, found.workload, DesiredState.RUNNING)
        revision = await current_revision(change.tx, workload)
        epochs = await _epochs(change.tx, workload)
        await bury(change, [i for i in found.instances if i.desired != DesiredState.REMOVED])
        fresh = accept.new_instances(
            change, workload, revision, slots=range(workload.replicas), epochs=epochs
        )
        change.wake_scheduler(workload.id)
        return await _answer(change, Kind.RESTART, workload, fresh, "restarted")


async def delete_workload(deps: Deps, request: DeleteWorkload) -> Accepted:
    """Remove a workload.  Its volumes are released with their data, or removed too when that was said."""
    async with deps.change(request.caller, action="workload.delete") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        found = await _load(change, request)
        workload = _set_desired(change, found.workload, DesiredState.REMOVED)
        await bury(change, found.instances)
        for volume in await change.tx.find(VolumeRow, workload_id=workload.id, removed_at=None, lock=True):
            gone = request.volumes and await holder_of(change.tx, volume) is None
            change.tx.update(
                volume,
                workload_id=None,
                state=VolumeState.RELEASED,
                removing=request.volumes,
                removed_at=change.now if gone else None,
            )
        answer = await _answer(change, Kind.REMOVE, workload, found.instances, "removing")
        await finish_removal(change, workload)
        return answer


def _set_desired(change: Change, workload: WorkloadRow, desired: DesiredState) -> WorkloadRow:
    change.audit(
        "workload",
        workload.id,
        entity_name=workload.name,
        project=workload.project,
        before={"desired": workload.desired},
        after={"desired": desired},
    )
    return change.tx.update(
        workload, desired=desired, updated_at=change.now, generation=workload.generation + 1
    )


async def current_revision(tx: Transaction, workload: WorkloadRow) -> RevisionRow:
    """The revision that the workload runs."""
    revision = await tx.get(RevisionRow, f"{workload.id}-{workload.revision}")
    if revision is None:
        raise NotFound(f"revision {workload.revision} of workload {workload.name} is gone")
    return revision


async def _epochs(tx: Transaction, workload: WorkloadRow) -> dict[int, int]:
    rows = await tx.find(InstanceRow, workload_id=workload.id, order_by=("epoch",))
    return {row.slot: row.epoch for row in rows}


async def bury(change: Change, instances: list[InstanceRow]) -> None:
    """Order these containers gone.  What never had a place is gone at once; the others get a tombstone."""
    for instance in instances:
        gone = change.now if instance.node_id is None else None
        phase = Phase.STOPPED if gone else instance.phase
        change.tx.update(instance, desired=DesiredState.REMOVED, gone_at=gone, phase=phase)
    await touch_nodes(change, instances)


async def touch_nodes(change: Change, instances: list[InstanceRow]) -> None:
    """Render the documents of these instances' nodes again; rooms that they leave are rooms for others."""
    for node_id in sorted({instance.node_id for instance in instances if instance.node_id}):
        node = await change.tx.get(NodeRow, node_id, lock=True)
        if node is not None:
            change.tx.update(node, document_dirty=True, placement_version=node.placement_version + 1)


async def finish_removal(change: Change, workload: WorkloadRow) -> None:
    """A workload whose last container is gone is gone: its name is free again."""
    if workload.desired != DesiredState.REMOVED or workload.removed_at is not None:
        return
    await change.tx.flush()
    if await change.tx.count(InstanceRow, workload_id=workload.id, gone_at=None):
        return
    change.tx.update(workload, removed_at=change.now)
    change.fact(
        "workload",
        "removed",
        entity_id=workload.id,
        entity_name=workload.name,
        workload_id=workload.id,
        project=workload.project,
    )


async def follow_up(change: Change, workload_ids: Iterable[str], *, heard: str = "") -> None:
    """Bring on the operations and removals that waited for what was just learned of these workloads, from the node that was `heard`."""
    touched = sorted(set(workload_ids))
    if not touched:
        return
    await change.tx.flush()
    away = await nodes_away(change.tx) - {heard}
    for workload_id in touched:
        await operations.advance(change, workload_id, away=away)
        workload = await change.tx.get(WorkloadRow, workload_id, lock=True)
        if workload is not None:
            await finish_removal(change, workload)


async def _answer(
    change: Change, kind: Kind, workload: WorkloadRow, instances: list[InstanceRow], verb: str
) -> Accepted:
    await operations.supersede(change, workload.id, by=kind)
    operation = operations.begin(
        change,
        kind,
        project=workload.project,
        workload_id=workload.id,
        workload_name=workload.name,
        instance_ids=[instance.id for instance in instances],
    )
    change.fact(
        "workload",
        verb,
        entity_id=workload.id,
        entity_name=workload.name,
        workload_id=workload.id,
        project=workload.project,
    )
    away = await nodes_away(change.tx)
    watched = [operations.watch(instance, away=away) for instance in instances]
    operations.apply_step(
        change, operation, operations.next_step(kind, watched, deadline=operation.deadline, now=change.now)
    )
    revision = await current_revision(change.tx, workload)
    nodes = node_words(await change.tx.find(NodeRow, removed_at=None))
    view = workload_view(workload, revision, instances, nodes)
    return remember(change, Accepted(operation=operations.operation_view(operation), workload=view))


async def nodes_away(tx: Transaction) -> frozenset[str]:
    """The nodes that cannot be reached."""
    rows = await tx.find(NodeRow, liveness=Liveness.UNREACHABLE, removed_at=None)
    return frozenset(row.id for row in rows)
