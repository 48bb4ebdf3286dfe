"""Requests about workloads: load, decide, write it all in one change, answer with the operation.

`create_workload` asks the image's registry before its transaction begins, so no lock is held while somebody else's server thinks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

from lattice.contracts.messages import CreateWorkload, DeleteWorkload, WorkloadCommand
from lattice.contracts.nouns import (
    Amounts,
    DesiredState,
    Inventory,
    Liveness,
    LocalImage,
    Membership,
    Phase,
    VolumeState,
)
from lattice.contracts.views import Accepted
from lattice.errors import Conflict, FieldError, Invalid, NotFound, StaleVersion
from lattice.storage import Transaction
from services.registry import accept, operations
from services.registry.capacity import NodeSize, why_never
from services.registry.change import Change, Deps
from services.registry.expansion import Expansion, expand
from services.registry.idempotency import remember, replay
from services.registry.image_pinning import (
    Answer,
    ImageRefused,
    PinnedImage,
    RegistryAnswer,
    needs_registry,
    pin,
)
from services.registry.image_reference import parse_reference
from services.registry.image_registry import ImageRegistries
from services.registry.operations import Kind
from services.registry.tables import (
    InstanceRow,
    NodeRow,
    ProjectRow,
    RevisionRow,
    SecretRow,
    VolumeRow,
    WorkloadRow,
)
from services.registry.template import Template
from services.registry.vault import Vault
from services.registry.workload_views import node_words, workload_view


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadDeps(Deps):
    """What requests about workloads use beyond the store."""

    templates: Mapping[str, Template]
    registries: ImageRegistries
    vault: Vault
    tls: accept.TlsIssuer


class Found(NamedTuple):
    """A workload with what belongs to it."""

    workload: WorkloadRow
    instances: list[InstanceRow]


# ------------------------------------------------------------------------------------------------ create


async def create_workload(deps: WorkloadDeps, request: CreateWorkload) -> Accepted:
    """Deploy: everything that can be wrong is said now, and then nothing was changed."""
    async with deps.store.transaction() as tx:
        if answered := await replay(tx, request.caller, Accepted):
            return answered
        login = await _login(deps, tx, request)
        nodes = await _usable_nodes(tx)
    expansion = expand(request.spec, deps.templates)
    _check_fits(expansion, request, nodes)
    image = await _pin(deps, request, expansion, login, nodes)
    async with deps.change(request.caller, action="workload.create") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        return await _accept(deps, change, request, expansion, image)


async def _usable_nodes(tx: Transaction) -> list[NodeRow]:
    return await tx.find(NodeRow, membership=Membership.APPROVED, removed_at=None)


async def _login(deps: WorkloadDeps, tx: Transaction, request: CreateWorkload) -> str | None:
    name = request.spec.pull_secret
    if name is None:
        return None
    rows = await tx.find(SecretRow, project=request.project, owner="", name=name)
    if not rows:
        detail = f"project {request.project} has no secret {name!r}; make it with: lattice secret set {name}"
        raise Invalid(detail, errors=[FieldError(pointer="/pull_secret", detail=detail)])
    return (await deps.vault.reveal(tx, rows[0], rows[0].current)).decode()


def _reserve(expansion: Expansion) -> Amounts:
    return Amounts(
        cpu_millis=expansion.resources.cpu,
        memory_bytes=expansion.resources.memory,
        disk_bytes=sum(volume.size for volume in expansion.volumes),
    )


def _check_fits(expansion: Expansion, request: CreateWorkload, nodes: list[NodeRow]) -> None:
    sizes = [
        NodeSize(node.name, node.pool, Inventory.model_validate(node.inventory).capacity) for node in nodes
    ]
    reasons = why_never(_reserve(expansion), request.spec.placement.pools, sizes)
    if reasons:
        errors = [FieldError(pointer="/resources", detail=reason) for reason in reasons]
        raise Invalid(
            f"no node is large enough: {'; '.join(reasons)}. Ask for less, or add a larger node.",
            errors=errors,
        )


async def _pin(
    deps: WorkloadDeps, request: CreateWorkload, expansion: Expansion, login: str | None, nodes: list[NodeRow]
) -> PinnedImage:
    answer = RegistryAnswer(Answer.NOT_ASKED)
    if needs_registry(expansion.image, request.spec.pull):
        reference = parse_reference(expansion.image.wanted)
        answer = await deps.registries.digest(reference, login, monotonic_s=monotonic())
    held: dict[str, tuple[LocalImage, ...]] = {
        node.id: Inventory.model_validate(node.inventory).images for node in nodes
    }
    pinned = pin(expansion.image, request.spec.pull, answer, held)
    if isinstance(pinned, ImageRefused):
        raise Invalid(pinned.detail, errors=[FieldError(pointer="/image", detail=pinned.detail)])
    return pinned


async def _accept(
    deps: WorkloadDeps, change: Change, request: CreateWorkload, expansion: Expansion, image: PinnedImage
) -> Accepted:
    spec, project = request.spec, request.project
    await _check_name(change.tx, project, spec.name)
    workload = change.tx.add(
        WorkloadRow(
            id=change.new_id("wl"),
            project=project,
            name=spec.name,
            desired=DesiredState.RUNNING,
            replicas=spec.replicas,
            created_at=change.now,
            updated_at=change.now,
        )
    )
    volumes = await accept.claim_volumes(change, request, expansion.volumes, workload.id)
    revision = await _first_revision(deps, change, request, expansion, image, workload, volumes)
    instances = accept.new_instances(change, workload, revision, slots=range(spec.replicas), epochs={})
    operation = operations.begin(
        change,
        Kind.DEPLOY,
        project=project,
        workload_id=workload.id,
        workload_name=workload.name,
        instance_ids=[instance.id for instance in instances],
    )
    change.fact("workload", "created", entity_id=workload.id, entity_name=workload.name, project=project)
    change.audit("workload", workload.id, project=project, after=spec.model_dump(mode="json"))
    change.wake_scheduler(workload.id)
    view = workload_view(workload, revision, instances, {})
    return remember(change, Accepted(operation=operations.operation_view(operation), workload=view))


async def _check_name(tx: Transaction, project: str, name: str) -> None:
    if await tx.get(ProjectRow, project) is None:
        raise NotFound(f"there is no project {project!r}")
    if await tx.find(WorkloadRow, project=project, name=name, removed_at=None):
        raise Conflict(
            f"workload {name!r} exists already in project {project}; choose another name, or remove it first"
        )


async def _first_revision(
    deps: WorkloadDeps,
    change: Change,
    request: CreateWorkload,
    expansion: Expansion,
    image: PinnedImage,
    workload: WorkloadRow,
    volumes: list[VolumeRow],
) -> RevisionRow:
    spec, project = request.spec, request.project
    refs = await accept.find_secret_refs(change, project, _places_of_secrets(request, expansion))
    secrets = await accept.make_secrets(
        change, deps.vault, expansion, project=project, workload_id=workload.id, volumes=volumes
    )
    places = expansion.places | secrets.values
    if expansion.uses_tls:
        places |= accept.make_tls(deps.tls, change, spec, project, workload.id)
    files, versions = accept.mount_files(
        change, deps.vault, expansion, places, project=project, workload_id=workload.id
    )
    run = accept.run_spec(spec, expansion, image, files, volumes, refs)
    return change.tx.add(
        RevisionRow(
            id=f"{workload.id}-1",
            workload_id=workload.id,
            number=1,
            spec=spec.model_dump(mode="json"),
            run=run.model_dump(mode="json"),
            access=accept.access_of(expansion, secrets),
            image=image.reference,
            secret_versions=versions | {row.id: row.current for row in refs.values()},
            only_nodes=list(image.only_nodes) if image.only_nodes is not None else None,
            image_reason=image.reason,
            created_at=change.now,
            created_by=request.caller.actor,
        )
    )


def _places_of_secrets(request: CreateWorkload, expansion: Expansion) -> dict[str, str]:
    places = {f"/secrets/{name}": secret for name, secret in expansion.secret_refs.items()}
    if request.spec.pull_secret:
        places["/pull_secret"] = request.spec.pull_secret
    return places


# ------------------------------------------------------------------------------------------------ stop, start, restart, remove


async def find_workload(tx: Transaction, project: str, ref: str, *, lock: bool = False) -> WorkloadRow:
    """The workload with this id or name; removed ones are not found."""
    rows = await tx.find(WorkloadRow, project=project, name=ref, removed_at=None, lock=lock)
    if not rows:
        rows = await tx.find(WorkloadRow, project=project, id=ref, removed_at=None, lock=lock)
    if not rows:
        raise NotFound(f"there is no workload {ref!r} in project {project}")
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


async def stop_workload(deps: WorkloadDeps, request: WorkloadCommand) -> Accepted:
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


async def start_workload(deps: WorkloadDeps, request: WorkloadCommand) -> Accepted:
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


async def restart_workload(deps: WorkloadDeps, request: WorkloadCommand) -> Accepted:
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


async def delete_workload(deps: WorkloadDeps, request: DeleteWorkload) -> Accepted:
    """Remove a workload.  Its volumes are released with their data, or removed too when that was said."""
    async with deps.change(request.caller, action="workload.delete") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        found = await _load(change, request)
        workload = _set_desired(change, found.workload, DesiredState.REMOVED)
        await bury(change, found.instances)
        for volume in await change.tx.find(VolumeRow, workload_id=workload.id, removed_at=None, lock=True):
            gone = request.volumes and volume.node_id is None
            change.tx.update(
                volume,
                workload_id=None,
                state=VolumeState.RELEASED,
                removing=request.volumes,
                removed_at=change.now if gone else None,
            )
        await _end_open_operations(change, workload)
        answer = await _answer(change, Kind.REMOVE, workload, found.instances, "removing")
        await finish_removal(change, workload)
        return answer


def _set_desired(change: Change, workload: WorkloadRow, desired: DesiredState) -> WorkloadRow:
    change.audit(
        "workload",
        workload.id,
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


async def _end_open_operations(change: Change, workload: WorkloadRow) -> None:
    for row in await operations.open_operations(change, workload.id):
        problem = {"code": "superseded", "detail": f"workload {workload.name} was removed meanwhile"}
        change.tx.update(row, state="cancelled", ended_at=change.now, problem=problem)


async def finish_removal(change: Change, workload: WorkloadRow) -> None:
    """A workload whose last container is gone is gone: its name is free again."""
    if workload.desired != DesiredState.REMOVED or workload.removed_at is not None:
        return
    await change.tx.flush()
    if await change.tx.count(InstanceRow, workload_id=workload.id, gone_at=None):
        return
    change.tx.update(workload, removed_at=change.now)
    change.fact(
        "workload", "removed", entity_id=workload.id, entity_name=workload.name, project=workload.project
    )


async def _answer(
    change: Change, kind: Kind, workload: WorkloadRow, instances: list[InstanceRow], verb: str
) -> Accepted:
    operation = operations.begin(
        change,
        kind,
        project=workload.project,
        workload_id=workload.id,
        workload_name=workload.name,
        instance_ids=[instance.id for instance in instances],
    )
    change.fact("workload", verb, entity_id=workload.id, entity_name=workload.name, project=workload.project)
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
