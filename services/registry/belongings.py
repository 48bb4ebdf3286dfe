"""Requests about what projects own beside workloads: secrets, volumes, projects, and traces of acts that change nothing here."""

from __future__ import annotations

from lattice.contracts.messages import (
    CreateProject,
    DeleteSecret,
    DeleteVolume,
    Done,
    OperationCommand,
    RecordAudit,
    SetSecret,
)
from lattice.contracts.nouns import OperationState, VolumeState
from lattice.contracts.spec import WorkloadSpec
from lattice.contracts.views import OperationView, ProjectView, SecretView
from lattice.errors import Conflict, NotFound
from lattice.storage import In, Transaction
from services.registry import converging, drains, operations
from services.registry.change import Change, Deps
from services.registry.idempotency import remember, replay
from services.registry.node_rows import holder_of
from services.registry.operations import Kind
from services.registry.reading import secret_view
from services.registry.tables import (
    InstanceRow,
    NodeRow,
    OperationRow,
    ProjectRow,
    RevisionRow,
    SecretRow,
    SecretVersionRow,
    VolumeRow,
    WorkloadRow,
)
from services.registry.workload_deps import WorkloadDeps
from services.registry.workload_rows import lock_instances, touch_nodes


async def create_project(deps: Deps, request: CreateProject) -> ProjectView:
    """A new, empty project."""
    async with deps.change(request.caller, action="project.create") as change:
        if answered := await replay(change.tx, request.caller, ProjectView):
            return answered
        if await change.tx.get(ProjectRow, request.name) is not None:
            raise Conflict(f"project {request.name!r} exists already")
        row = change.tx.add(ProjectRow(id=request.name, created_at=change.now))
        change.fact("project", "created", entity_id=row.id, entity_name=row.id, project=row.id)
        change.audit("project", row.id, entity_name=row.id, project=row.id)
        return remember(change, ProjectView(name=row.id, created_at=row.created_at))


async def set_secret(deps: WorkloadDeps, request: SetSecret) -> SecretView:
    """A new secret, or a new version of one; what runs keeps the version that it was deployed with."""
    async with deps.change(request.caller, action="secret.set") as change:
        if answered := await replay(change.tx, request.caller, SecretView):
            return answered
        if await change.tx.get(ProjectRow, request.project) is None:
            raise NotFound(f"there is no project {request.project!r}")
        row = await _find_secret(change.tx, request.project, request.name)
        value = request.value.encode()
        if row is None:
            row = deps.vault.add(change, project=request.project, owner="", name=request.name, value=value)
        else:
            row = deps.vault.renew(change, row, value)
        change.fact("secret", "set", entity_id=row.id, entity_name=row.name, project=row.project)
        after = {"version": row.current}
        change.audit("secret", row.id, entity_name=row.name, project=row.project, after=after)
        return remember(change, secret_view(row))


async def _find_secret(tx: Transaction, project: str, name: str) -> SecretRow | None:
    rows = await tx.find(SecretRow, project=project, owner="", name=name, lock=True)
    return rows[0] if rows else None


async def delete_secret(deps: Deps, request: DeleteSecret) -> Done:
    """Remove a secret that no workload uses."""
    async with deps.change(request.caller, action="secret.delete") as change:
        if answered := await replay(change.tx, request.caller, Done):
            return answered
        row = await _find_secret(change.tx, request.project, request.name)
        if row is None:
            raise NotFound(f"project {request.project} has no secret {request.name!r}")
        users = await _users_of(change.tx, row)
        if users:
            raise Conflict(f"secret {row.name} is used by {', '.join(users)}; remove them first")
        for version in await change.tx.find(SecretVersionRow, secret_id=row.id):
            change.tx.delete(version)
        change.tx.delete(row)
        change.fact("secret", "removed", entity_id=row.id, entity_name=row.name, project=row.project)
        change.audit("secret", row.id, entity_name=row.name, project=row.project)
        return remember(change, Done())


async def _users_of(tx: Transaction, secret: SecretRow) -> list[str]:
    live = await tx.find(WorkloadRow, project=secret.project, removed_at=None)
    users = []
    for workload in live:
        numbers = {workload.revision}
        numbers |= {row.revision for row in await tx.find(InstanceRow, workload_id=workload.id, gone_at=None)}
        ids = tuple(f"{workload.id}-{number}" for number in numbers)
        if any(_uses(secret, row) for row in await tx.find(RevisionRow, id=In(ids))):
            users.append(workload.name)
    return sorted(users)


def _uses(secret: SecretRow, revision: RevisionRow) -> bool:
    """In its containers, or in a guard of a public name."""
    spec = WorkloadSpec.model_validate(revision.spec)
    guards = {name for port in spec.ports if port.guard is not None for _, name in port.guard.secrets}
    return secret.id in revision.secret_versions or (not secret.owner and secret.name in guards)


async def delete_volume(deps: Deps, request: DeleteVolume) -> Done:
    """Remove a released volume with its data; on a node that is away it happens when the node returns."""
    async with deps.change(request.caller, action="volume.delete") as change:
        if answered := await replay(change.tx, request.caller, Done):
            return answered
        volume = await _lock_volume(change.tx, request.project, request.volume)
        if volume.state == VolumeState.BOUND:
            raise Conflict(
                f"volume {volume.name} is in use; remove its workload first, or: lattice rm NAME --volumes"
            )
        node = await holder_of(change.tx, volume)
        change.tx.update(volume, removing=True, removed_at=None if node else change.now)
        if node is not None:
            change.touch_document(node)
        change.fact(
            "volume", "removing", entity_id=volume.id, entity_name=volume.name, project=volume.project
        )
        before = {"state": volume.state}
        change.audit("volume", volume.id, entity_name=volume.name, project=volume.project, before=before)
        return remember(change, Done())


async def _lock_volume(tx: Transaction, project: str, ref: str) -> VolumeRow:
    """The volume of this name or id, locked; its node first, as reports have them."""
    rows = await tx.find(VolumeRow, project=project, name=ref, removed_at=None)
    rows = rows or await tx.find(VolumeRow, project=project, id=ref, removed_at=None)
    if rows:
        await holder_of(tx, rows[0], lock=True)
        rows = await tx.find(VolumeRow, id=rows[0].id, removed_at=None, lock=True)
    if not rows:
        raise NotFound(f"there is no volume {ref!r} in project {project}")
    return rows[0]


async def cancel_operation(deps: Deps, request: OperationCommand) -> OperationView:
    """Stop an operation.  A deploy that had not succeeded is undone: its workload's instances are stopped.  An update goes back to the
    revision before; where a workload was scaled, what is there stays."""
    async with deps.change(request.caller, action="operation.cancel") as change:
        if answered := await replay(change.tx, request.caller, OperationView):
            return answered
        row = await _lock_operation(change, request.operation)
        if OperationState(row.state).ended:
            raise Conflict(f"operation {row.id} has ended already: {row.state}")
        if row.kind in (Kind.REMOVE, Kind.STOP):
            raise Conflict(f"a {row.kind} cannot be cancelled: its containers are already going")
        change.operation_id = row.id
        await _undo(change, row)
        problem = {"code": "cancelled", "detail": f"cancelled by {request.caller.actor}"}
        change.tx.update(row, state=OperationState.CANCELLED, ended_at=change.now, problem=problem)
        project = row.project or "_platform"
        change.fact("operation", "cancelled", entity_id=row.id, entity_name=row.kind, project=project)
        after = {"state": "cancelled"}
        change.audit("operation", row.id, entity_name=row.kind, project=row.project, after=after)
        return remember(change, operations.operation_view(row))


async def _lock_operation(change: Change, operation_id: str) -> OperationRow:
    """The operation, locked; its subject first, as everybody else has them."""
    seen = await change.tx.get(OperationRow, operation_id)
    if seen is not None:
        if seen.subject_kind == "node":
            await change.tx.get(NodeRow, seen.subject_id, lock=True)
        else:
            await change.tx.get(WorkloadRow, seen.subject_id, lock=True)
            await lock_instances(change, seen.subject_id)
    row = await change.tx.get(OperationRow, operation_id, lock=True)
    if row is None:
        raise NotFound(f"there is no operation {operation_id!r}")
    return row


async def _undo(change: Change, row: OperationRow) -> None:
    if row.kind == Kind.DRAIN:
        await drains.cancel(change, row)
        return
    workload = await change.tx.get(WorkloadRow, row.subject_id, lock=True)
    if workload is None or workload.removed_at is not None:
        return
    if Kind(row.kind) in operations.CONVERGING:
        await converging.cancel(change, workload)
        return
    change.tx.update(workload, desired="stopped", generation=workload.generation + 1, updated_at=change.now)
    instances = await lock_instances(change, workload.id)
    for instance in instances:
        if instance.desired == "running":
            changes = {} if instance.node_id else {"phase": "stopped"}
            change.tx.update(instance, desired="stopped", **changes)
    await touch_nodes(change, instances)


async def record_audit(deps: Deps, request: RecordAudit) -> Done:
    """Leave a trace of an act that changes nothing in the registry: an exec, a refused request."""
    async with deps.change(request.caller, action=request.action) as change:
        change.audit(
            request.entity,
            request.entity_id,
            entity_name=request.entity_name,
            project=request.project,
            after=request.detail,
        )
        return Done()
