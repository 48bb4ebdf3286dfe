"""Requests that change a workload: stop, start, restart, remove.

Each loads with a lock, checks the version that the caller saw, writes what is wanted, and answers with the operation that watches it come true.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from lattice.contracts.messages import DeleteWorkload, WorkloadCommand
from lattice.contracts.nouns import DesiredState, Phase, VolumeState
from lattice.contracts.views import Accepted
from lattice.errors import Conflict, StaleVersion
from services.registry import accept, converging, links, operations, releasing, routes
from services.registry.change import Change, Deps
from services.registry.idempotency import remember, replay
from services.registry.node_rows import holder_of
from services.registry.operations import Kind
from services.registry.tables import InstanceRow, NodeRow, VolumeRow, WorkloadRow
from services.registry.workload_rows import (
    bury,
    current_revision,
    find_workload,
    is_untold,
    lock_instances,
    newest_instances,
    nodes_away,
    tell,
    touch_nodes,
)
from services.registry.workload_views import node_words, workload_view


class Found(NamedTuple):
    """A workload with what belongs to it."""

    workload: WorkloadRow
    instances: list[InstanceRow]


async def load(change: Change, request: WorkloadCommand) -> Found:
    """The workload of a command, locked; refused if it is not as its caller saw it, or on its way out."""
    workload = await find_workload(change.tx, request.project, request.workload, lock=True)
    if request.caller.if_match not in (None, "*", f'"{workload.version}"', str(workload.version)):
        raise StaleVersion(
            f"workload {workload.name} changed meanwhile: it is at version {workload.version}; look again"
        )
    if workload.desired == DesiredState.REMOVED:
        raise Conflict(f"workload {workload.name} is being removed")
    return Found(workload, await lock_instances(change, workload.id))


async def stop_workload(deps: Deps, request: WorkloadCommand) -> Accepted:
    """Stop all instances; containers, places and volumes stay."""
    async with deps.change(request.caller, action="workload.stop") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        found = await load(change, request)
        instances = found.instances
        if await converging.go_back(change, found.workload):
            instances = await lock_instances(change, found.workload.id)
        workload = _set_desired(change, found.workload, DesiredState.STOPPED)
        live = _live(instances)
        for instance in live:
            changes = {"phase": Phase.STOPPED} if is_untold(instance) else {}
            change.tx.update(instance, desired=DesiredState.STOPPED, **changes)
        await touch_nodes(change, live)
        return remember(change, await answer(change, Kind.STOP, workload, live, "stopped"))


async def start_workload(deps: Deps, request: WorkloadCommand) -> Accepted:
    """Start a stopped workload where it was."""
    async with deps.change(request.caller, action="workload.start") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        found = await load(change, request)
        if found.workload.desired == DesiredState.RUNNING:
            await refuse_during_update(change, found.workload)
        workload = _set_desired(change, found.workload, DesiredState.RUNNING)
        live = _live(found.instances)
        for instance in live:
            changes = {"phase": Phase.PENDING} if is_untold(instance) else {}
            change.tx.update(instance, desired=DesiredState.RUNNING, unready_since=change.now, **changes)
        await touch_nodes(change, live)
        change.wake_scheduler(workload.id)
        if not workload.settled:  # it was stopped on its way to a goal
            await converging.resume(change, workload)
            await converging.bring_on(change, workload)
            live = _live(await lock_instances(change, workload.id))
        return remember(change, await answer(change, Kind.START, workload, live, "started"))


async def restart_workload(deps: Deps, request: WorkloadCommand) -> Accepted:
    """Replace every instance by one with a new epoch; each slot's old container is gone before its new one starts."""
    async with deps.change(request.caller, action="workload.restart") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        found = await load(change, request)
        await refuse_during_update(change, found.workload)
        workload = _set_desired(change, found.workload, DesiredState.RUNNING)
        revision = await current_revision(change.tx, workload)
        before = await newest_instances(change.tx, workload)
        live = _live(found.instances)
        await bury(change, live)
        slots = _slots_to_fill([instance.slot for instance in live], workload.replicas)
        fresh = accept.new_instances(change, workload, revision, slots=slots, before=before)
        await change.tx.flush()
        await releasing.look(change, workload)
        change.wake_scheduler(workload.id)
        return remember(change, await answer(change, Kind.RESTART, workload, fresh, "restarted"))


async def delete_workload(deps: Deps, request: DeleteWorkload) -> Accepted:
    """Remove a workload.  Its volumes are released with their data, or removed too when that was said."""
    async with deps.change(request.caller, action="workload.delete") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        accepted = await remove(change, await load(change, request), volumes=request.volumes)
        return remember(change, accepted)


async def remove(change: Change, found: Found, *, volumes: bool) -> Accepted:
    """Order a workload gone that the caller has locked."""
    workload = _set_desired(change, found.workload, DesiredState.REMOVED)
    await bury(change, found.instances)
    for volume in await change.tx.find(VolumeRow, workload_id=workload.id, removed_at=None, lock=True):
        gone = volumes and await holder_of(change.tx, volume) is None
        change.tx.update(
            volume,
            workload_id=None,
            state=VolumeState.RELEASED,
            removing=volumes,
            removed_at=change.now if gone else None,
        )
    await routes.release(change, workload)
    accepted = await answer(change, Kind.REMOVE, workload, found.instances, "removing")
    await finish_removal(change, workload)
    return accepted


def _live(instances: Iterable[InstanceRow]) -> list[InstanceRow]:
    return [instance for instance in instances if instance.desired != DesiredState.REMOVED]


def _slots_to_fill(taken: Sequence[int], replicas: int) -> list[int]:
    """The slots that are filled already first, so that each old container is gone before the new one of its slot starts."""
    free = (slot for slot in range(replicas + len(taken)) if slot not in taken)
    return sorted(taken)[:replicas] + list(islice(free, max(0, replicas - len(taken))))


async def refuse_during_update(change: Change, workload: WorkloadRow) -> None:
    """Conflict while an update is under way: what the command would act on changes by itself."""
    rollout = await converging.active_rollout(change, workload.id)
    if rollout is not None:
        raise Conflict(
            f"workload {workload.name} is being updated to revision {rollout.to_revision}; wait until that is over, or end it: "
            f"lattice op cancel {rollout.operation_id}"
        )


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


async def finish_removal(change: Change, workload: WorkloadRow) -> None:
    """A workload whose last container is gone is gone: its name is free again."""
    if workload.desired != DesiredState.REMOVED or workload.removed_at is not None:
        return
    await change.tx.flush()
    if await change.tx.count(InstanceRow, workload_id=workload.id, gone_at=None):
        return
    change.tx.update(workload, removed_at=change.now)
    tell(change, workload, "removed")


async def answer(
    change: Change, kind: Kind, workload: WorkloadRow, instances: list[InstanceRow], verb: str
) -> Accepted:
    """Begin the operation of a command about these instances; what was under way for the workload is over."""
    await operations.supersede(change, workload.id, by=kind)
    if kind is not Kind.START:  # an update of what is stopped begins only now
        await converging.supersede(change, workload)
    operation = operations.begin(
        change,
        kind,
        workload,
        instance_ids=[instance.id for instance in instances],
    )
    tell(change, workload, verb)
    await routes.refresh(change, workload)
    await links.touch(change, workload)
    away = await nodes_away(change.tx)
    watched = [operations.watch(instance, away=away) for instance in instances]
    operations.apply_step(
        change, operation, operations.next_step(kind, watched, deadline=operation.deadline, now=change.now)
    )
    revision = await current_revision(change.tx, workload)
    nodes = node_words(await change.tx.find(NodeRow, removed_at=None))
    view = workload_view(workload, revision, instances, nodes)
    return Accepted(operation=operations.operation_view(operation), workload=view)
