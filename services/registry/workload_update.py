"""Requests that give a workload another goal: a new spec, another number of instances, an earlier revision.

Every change of the spec is a revision.  One that changes what runs is rolled out, and goes back by itself if it fails; one that changes only
how many run, or how updates are done, takes over the instances as they are.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from lattice.contracts.messages import (
    CreateWorkload,
    RollbackWorkload,
    RunSpec,
    ScaleWorkload,
    UpdateWorkload,
    WorkloadCommand,
)
from lattice.contracts.nouns import RolloutState
from lattice.contracts.spec import WorkloadSpec
from lattice.contracts.views import Accepted
from lattice.errors import Conflict, FieldError, Invalid, NotFound
from lattice.storage import In, Transaction
from services.registry import accept, borrowing, converging, guards, links, releasing
from services.registry.change import Change
from services.registry.expansion import expand
from services.registry.idempotency import remember, replay
from services.registry.merge_patch import merge_patch
from services.registry.operations import Kind
from services.registry.tables import (
    RevisionRow,
    RolloutRow,
    SecretRow,
    WorkloadRow,
)
from services.registry.workload_create import Prepared, prepare, write_revision
from services.registry.workload_deps import WorkloadDeps
from services.registry.workload_goal import Target, aim, nothing_to_do, under_way
from services.registry.workload_rows import current_revision, find_workload
from services.registry.workloads import load, refuse_during_update

# These say how many run, how updates are done, and what comes first: changing them alone replaces no container.
_ABOUT_NO_CONTAINER = ("replicas", "update", "depends_on")


async def update_workload(deps: WorkloadDeps, request: UpdateWorkload) -> Accepted:
    """Roll out a new spec; the old instances serve until the new ones do."""
    async with deps.store.transaction() as tx:
        if answered := await replay(tx, request.caller, Accepted):
            return answered
        seen = await find_workload(tx, request.project, request.workload)
        spec = _new_spec(request, seen, await current_revision(tx, seen))
    wanted = CreateWorkload(caller=request.caller, project=request.project, spec=spec, adopt=request.adopt)
    prepared = await prepare(deps, wanted)
    async with deps.change(request.caller, action="workload.update") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        workload = (await load(change, request)).workload
        if workload.version != seen.version and request.patch is not None:
            raise Conflict(
                f"workload {workload.name} changed meanwhile; look again, and send the change again"
            )
        return remember(change, await update_to(deps, change, wanted, prepared, workload))


async def is_as_wanted(
    deps: WorkloadDeps, change: Change, wanted: CreateWorkload, prepared: Prepared, workload: WorkloadRow
) -> bool:
    """Whether the workload runs this spec already, or is on its way there."""
    current = await current_revision(change.tx, workload)
    same = WorkloadSpec.model_validate(current.spec) == wanted.spec
    if not same or await guards.have_changed(change, deps.vault, wanted.project, wanted.spec, current):
        return False
    return not await _replaces(deps, change.tx, workload, current, wanted.spec, prepared)


async def update_to(
    deps: WorkloadDeps, change: Change, wanted: CreateWorkload, prepared: Prepared, workload: WorkloadRow
) -> Accepted:
    """Make a spec the goal of a workload that the caller has locked."""
    await releasing.check_known(change, wanted.project, wanted.spec)
    current = await current_revision(change.tx, workload)
    replaces = await _replaces(deps, change.tx, workload, current, wanted.spec, prepared)
    same_spec = WorkloadSpec.model_validate(current.spec) == wanted.spec
    if same_spec:
        same_spec = not await guards.have_changed(change, deps.vault, wanted.project, wanted.spec, current)
    if not replaces:
        rollout = await converging.active_rollout(change, workload.id)
        if same_spec and rollout is None:
            return await nothing_to_do(change, Kind.UPDATE, workload, current)
        if same_spec and rollout is not None and rollout.to_revision == current.number:
            return await under_way(change, workload, current, rollout)
        await refuse_during_update(change, workload)
    number = await _next_number(change.tx, workload)
    if replaces:
        revision = await write_revision(deps, change, wanted, prepared, workload, number=number)
    else:
        revision = _same_run(change, current, wanted.spec, number)
        if revision.access is not None:
            found = await guards.guards_of(change, deps.vault, wanted.project, wanted.spec)
            revision.access = revision.access | {"guards": found}
    return await aim(change, workload, current, Target(Kind.UPDATE, revision, replaces))


async def scale_workload(deps: WorkloadDeps, request: ScaleWorkload) -> Accepted:
    """Change how many instances run; those that stay are not touched."""
    async with deps.change(request.caller, action="workload.scale") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        workload = (await load(change, request)).workload
        await refuse_during_update(change, workload)
        current = await current_revision(change.tx, workload)
        spec = WorkloadSpec.model_validate(current.spec | {"replicas": request.replicas})
        expand(spec, deps.templates)  # a template or a volume may limit the number
        if spec.replicas == workload.replicas:
            return remember(change, await nothing_to_do(change, Kind.SCALE, workload, current))
        revision = _same_run(change, current, spec, await _next_number(change.tx, workload))
        aimed = await aim(change, workload, current, Target(Kind.SCALE, revision, replaces=False))
        return remember(change, aimed)


async def rollback_workload(deps: WorkloadDeps, request: RollbackWorkload) -> Accepted:
    """Run an earlier revision again, with its image, environment and versions of secrets, and as many instances as now."""
    async with deps.change(request.caller, action="workload.rollback") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        workload = (await load(change, request)).workload
        current = await current_revision(change.tx, workload)
        earlier = await _earlier(change.tx, workload, request.revision)
        await _check_secrets(change.tx, earlier)
        revision = await _again(change, request, workload, earlier)
        aimed = await aim(change, workload, current, Target(Kind.ROLLBACK, revision, replaces=True))
        return remember(change, aimed)


# --- the new spec ------------------------------------------------------------------------------------------


def _new_spec(request: UpdateWorkload, workload: WorkloadRow, current: RevisionRow) -> WorkloadSpec:
    if (request.spec is None) == (request.patch is None):
        raise Invalid("give a whole spec or a patch of it")
    # How many run is not what an earlier revision says that was gone back to.
    spec = request.spec or _patched(current.spec | {"replicas": workload.replicas}, request.patch or {})
    if spec.name != workload.name:
        detail = f"the workload is called {workload.name}; a name cannot be changed"
        raise Invalid(detail, errors=[FieldError(pointer="/name", detail=detail)])
    return spec


def _patched(spec: dict[str, Any], patch: dict[str, Any]) -> WorkloadSpec:
    try:
        return WorkloadSpec.model_validate(merge_patch(spec, patch))
    except ValidationError as error:
        problems = [
            FieldError(pointer="".join(f"/{part}" for part in each["loc"]), detail=each["msg"])
            for each in error.errors(include_input=False, include_url=False)
        ]
        raise Invalid(f"the changed spec is not valid: {problems[0]['detail']}", errors=problems) from None


async def _replaces(
    deps: WorkloadDeps,
    tx: Transaction,
    workload: WorkloadRow,
    current: RevisionRow,
    spec: WorkloadSpec,
    prepared: Prepared,
) -> bool:
    """Whether a container of the current revision is not what this spec describes."""
    before = _of_containers(WorkloadSpec.model_validate(current.spec))
    if before != _of_containers(spec) or prepared.image.reference != current.image:
        return True
    secrets = await tx.find(SecretRow, id=In(tuple(current.secret_versions)))
    newer = any(row.current != current.secret_versions[row.id] for row in secrets if not row.owner)
    if newer or await links.have_changed(tx, workload.project, spec, current):
        return True
    return await borrowing.has_changed(deps, tx, workload, spec, current)


def _of_containers(spec: WorkloadSpec) -> dict[str, Any]:
    """What of a spec a container is made from, or its agent goes by."""
    restart = spec.restart.model_copy(update={"reschedule_after": None})
    # By which name a port is reached, and by whom, its container need not know.
    ports = tuple(
        port.model_copy(update={"public": False, "plaintext": False, "guard": None, "domains": ()})
        for port in spec.ports
    )
    own = spec.model_copy(update={"restart": restart, "ports": ports})
    return own.model_dump() | dict.fromkeys(_ABOUT_NO_CONTAINER)


async def _next_number(tx: Transaction, workload: WorkloadRow) -> int:
    newest = await tx.find(RevisionRow, workload_id=workload.id, order_by=("-number",), limit=1)
    return newest[0].number + 1


def _same_run(change: Change, current: RevisionRow, spec: WorkloadSpec, number: int) -> RevisionRow:
    """A revision whose containers are the ones that run."""
    kept = current.model_dump(exclude={"id", "number", "spec", "created_at", "created_by"})
    return change.tx.add(
        RevisionRow(
            **kept,
            id=f"{current.workload_id}-{number}",
            number=number,
            spec=spec.model_dump(mode="json"),
            created_at=change.now,
            created_by=change.caller.actor,
        )
    )


# --- an earlier revision -----------------------------------------------------------------------------------


async def _earlier(tx: Transaction, workload: WorkloadRow, number: int | None) -> RevisionRow:
    if number == workload.revision:
        raise Conflict(f"workload {workload.name} runs revision {number} already")
    rows = await tx.find(RevisionRow, workload_id=workload.id, order_by=("-number",))
    if number is None:
        failed = await _failed(tx, workload)
        known = [row for row in rows if row.number < workload.revision and row.number not in failed]
    else:
        known = [row for row in rows if row.number == number]
    if not known:
        which = "earlier revision that has worked" if number is None else f"revision {number}"
        raise NotFound(
            f"workload {workload.name} has no {which}; `lattice history {workload.name}` shows all"
        )
    return known[0]


async def _failed(tx: Transaction, workload: WorkloadRow) -> set[int]:
    rows = await tx.find(RolloutRow, workload_id=workload.id)
    return {row.to_revision for row in rows if row.state in (RolloutState.ROLLED_BACK, RolloutState.FAILED)}


async def _check_secrets(tx: Transaction, revision: RevisionRow) -> None:
    known = {row.id for row in await tx.find(SecretRow, id=In(tuple(revision.secret_versions)))}
    if not set(revision.secret_versions) <= known:
        raise Conflict(
            f"revision {revision.number} uses a secret that was removed; change the spec instead: lattice update"
        )


async def _again(
    change: Change, request: WorkloadCommand, workload: WorkloadRow, earlier: RevisionRow
) -> RevisionRow:
    spec = WorkloadSpec.model_validate(earlier.spec | {"replicas": workload.replicas})
    wanted = CreateWorkload(caller=request.caller, project=request.project, spec=spec, adopt=True)
    run = RunSpec.model_validate(earlier.run)
    volumes = await accept.claim_volumes(change, wanted, accept.volumes_of(run), workload.id)
    ids = {row.name: row.id for row in volumes}
    moved = tuple(
        volume.model_copy(update={"volume_id": ids[f"{spec.name}-{volume.name}"]}) for volume in run.volumes
    )
    revision = _same_run(change, earlier, spec, await _next_number(change.tx, workload))
    return change.tx.update(revision, run=run.model_copy(update={"volumes": moved}).model_dump(mode="json"))
