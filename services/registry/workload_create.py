"""Accepting a workload: load, pin, check, and write it all in one change.

The image's registry is asked before the transaction begins, so no lock is held while somebody else's server thinks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from lattice.contracts.messages import CreateWorkload
from lattice.contracts.nouns import Amounts, DesiredState, Inventory, LocalImage, Membership, OwnerPolicy
from lattice.contracts.owner_rules import why_not_ports
from lattice.contracts.views import Accepted
from lattice.errors import Conflict, FieldError, Invalid, NotFound
from lattice.image_reference import parse_reference
from lattice.storage import In, Transaction
from services.registry import accept, borrowing, guards, job_runs, links, operations, releasing, routes
from services.registry.capacity import NodeSize, why_never
from services.registry.change import Change
from services.registry.expansion import Expansion, expand
from services.registry.idempotency import remember, replay
from services.registry.image_pinning import (
    Answer,
    ImageRefused,
    PinnedImage,
    RegistryAnswer,
    is_known,
    needs_registry,
    pin,
)
from services.registry.operations import Kind
from services.registry.tables import NodeRow, ProjectRow, RevisionRow, SecretRow, WorkloadRow
from services.registry.workload_deps import WorkloadDeps
from services.registry.workload_rows import tell
from services.registry.workload_views import workload_view

_A_FEW_NODES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Which service of which app a workload is; of none where nothing is said."""

    app_id: str | None = None
    app: str | None = None
    service: str | None = None


ALONE = Member()


@dataclass(frozen=True, slots=True)
class Prepared:
    """All of a new revision that does not need the transaction in which it is written."""

    expansion: Expansion
    image: PinnedImage


async def create_workload(deps: WorkloadDeps, request: CreateWorkload) -> Accepted:
    """Deploy: everything that can be wrong is said now, and then nothing was changed."""
    async with deps.store.transaction() as tx:
        if answered := await replay(tx, request.caller, Accepted):
            return answered
    prepared = await prepare(deps, request)
    async with deps.change(request.caller, action="workload.create") as change:
        if answered := await replay(change.tx, request.caller, Accepted):
            return answered
        return remember(change, await accept_workload(deps, change, request, prepared))


async def prepare(deps: WorkloadDeps, request: CreateWorkload) -> Prepared:
    """What a spec means here: joined with its template, small enough for a node, its image pinned."""
    expansion = expand(request.spec, deps.templates)
    async with deps.store.transaction() as tx:
        login = await _login(deps, tx, request)
        await _check_fits(tx, expansion, request)
        await _check_host_ports(tx, expansion, request)
    return Prepared(expansion, await _pin(deps, request, expansion, login))


async def _usable_nodes(tx: Transaction, *, limit: int | None = None, **where: Any) -> list[NodeRow]:
    return await tx.find(NodeRow, membership=Membership.APPROVED, removed_at=None, limit=limit, **where)


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


async def _check_fits(tx: Transaction, expansion: Expansion, request: CreateWorkload) -> None:
    """One node that is large enough will do, so all of them are read only where the first few are too small."""
    pools = request.spec.placement.pools
    nodes = await _usable_nodes(tx, limit=_A_FEW_NODES, pool=In(pools))
    reasons = why_never(_reserve(expansion), pools, _sizes(nodes))
    if reasons and len(nodes) == _A_FEW_NODES:
        reasons = why_never(_reserve(expansion), pools, _sizes(await _usable_nodes(tx, pool=In(pools))))
    if reasons:
        errors = [FieldError(pointer="/resources", detail=reason) for reason in reasons]
        raise Invalid(
            f"no node is large enough: {'; '.join(reasons)}. Ask for less, or add a larger node.",
            errors=errors,
        )


def _sizes(nodes: Iterable[NodeRow]) -> list[NodeSize]:
    return [
        NodeSize(node.name, node.pool, Inventory.model_validate(node.inventory).capacity) for node in nodes
    ]


async def _check_host_ports(tx: Transaction, expansion: Expansion, request: CreateWorkload) -> None:
    """A fixed host port that no owner of a node in its pools allows is a mistake; where there is no node yet, nobody knows."""
    ports = [port.host_port for port in expansion.ports if port.host_port is not None]
    if not ports:
        return
    policies = [
        (node.name, Inventory.model_validate(node.inventory).policy or OwnerPolicy())
        for node in await _usable_nodes(tx, pool=In(request.spec.placement.pools))
    ]
    reasons = [(name, why_not_ports(policy, ports)) for name, policy in policies]
    if policies and all(reason is not None for _, reason in reasons):
        told = "; ".join(
            f"the owner of {name} {reason.reason}" for name, reason in reasons if reason is not None
        )
        detail = f"no node allows these fixed host ports: {told}"
        raise Invalid(detail, errors=[FieldError(pointer="/ports", detail=detail)])


async def _pin(
    deps: WorkloadDeps, request: CreateWorkload, expansion: Expansion, login: str | None
) -> PinnedImage:
    answer = RegistryAnswer(Answer.NOT_ASKED)
    if needs_registry(expansion.image, request.spec.pull):
        reference = parse_reference(expansion.image.wanted)
        answer = await deps.registries.digest(reference, login, monotonic_s=monotonic())
    held = {} if is_known(expansion.image, request.spec.pull, answer) else await _held(deps)
    pinned = pin(expansion.image, request.spec.pull, answer, held)
    if isinstance(pinned, ImageRefused):
        raise Invalid(pinned.detail, errors=[FieldError(pointer="/image", detail=pinned.detail)])
    return pinned


async def _held(deps: WorkloadDeps) -> dict[str, tuple[LocalImage, ...]]:
    """node id -> the images there: asked for only where no registry has said what an image is."""
    async with deps.store.transaction() as tx:
        nodes = await _usable_nodes(tx)
    return {node.id: Inventory.model_validate(node.inventory).images for node in nodes}


async def accept_workload(
    deps: WorkloadDeps,
    change: Change,
    request: CreateWorkload,
    prepared: Prepared,
    member: Member = ALONE,
) -> Accepted:
    """Write a new workload with its first revision and instances, and the operation that watches them."""
    spec, project = request.spec, request.project
    await _check_name(change.tx, project, spec.name)
    await releasing.check_known(change, project, spec)
    workload = change.tx.add(
        WorkloadRow(
            id=change.new_id("wl"),
            project=project,
            name=spec.name,
            desired=DesiredState.RUNNING,
            replicas=spec.replicas,
            app_id=member.app_id,
            app=member.app,
            service=member.service,
            keeps_apart=spec.placement.keeps_apart,
            created_at=change.now,
            updated_at=change.now,
        )
    )
    revision = await write_revision(deps, change, request, prepared, workload, number=1)
    instances = accept.new_instances(change, workload, revision, slots=range(spec.replicas), before={})
    operation = operations.begin(
        change,
        Kind.DEPLOY,
        workload,
        instance_ids=[instance.id for instance in instances],
    )
    await change.tx.flush()
    await releasing.look(change, workload)
    await routes.claim(change, workload, revision)
    tell(change, workload, "created")
    after = spec.model_dump(mode="json")
    change.audit("workload", workload.id, entity_name=workload.name, project=project, after=after)
    change.wake_scheduler(workload.id)
    view = workload_view(workload, revision, instances, {})
    return Accepted(operation=operations.operation_view(operation), workload=view)


async def _check_name(tx: Transaction, project: str, name: str) -> None:
    if await tx.get(ProjectRow, project) is None:
        raise NotFound(f"there is no project {project!r}")
    if await tx.find(WorkloadRow, project=project, name=name, removed_at=None):
        raise Conflict(
            f"workload {name!r} exists already in project {project}; choose another name, or remove it first"
        )


async def write_revision(
    deps: WorkloadDeps,
    change: Change,
    request: CreateWorkload,
    prepared: Prepared,
    workload: WorkloadRow,
    *,
    number: int,
) -> RevisionRow:
    """A revision with everything that it needs: volumes, secrets, certificates."""
    spec, project, expansion, image = request.spec, request.project, prepared.expansion, prepared.image
    volumes = await accept.claim_volumes(change, request, expansion.volumes, workload.id)
    refs = await accept.find_secret_refs(change, project, _places_of_secrets(request, expansion))
    secrets = await accept.make_secrets(
        change, deps.vault, expansion, project=project, workload_id=workload.id, volumes=volumes
    )
    places = expansion.places | secrets.values
    if expansion.uses_tls:
        places |= accept.make_tls(deps.tls, change, spec, project, workload.id)
    files, versions = await accept.mount_files(
        change, deps.vault, expansion, places, project=project, workload_id=workload.id
    )
    run = accept.run_spec(spec, expansion, image, files, volumes, refs, workload)
    run = run.model_copy(update={"links": await links.resolve(change.tx, project, spec)})
    await links.record(change, workload, run.links)
    run, borrowed = await borrowing.borrow(deps, change, workload, spec, run)
    versions |= {row.id: row.current for row in refs.values()} | borrowed
    accept.check_size(run, len(versions))
    access = accept.access_of(expansion, secrets)
    if access is not None:
        access["guards"] = await guards.guards_of(change, deps.vault, project, spec)
    revision = change.tx.add(
        RevisionRow(
            id=f"{workload.id}-{number}",
            workload_id=workload.id,
            number=number,
            spec=spec.model_dump(mode="json"),
            run=run.model_dump(mode="json"),
            access=access,
            image=image.reference,
            secret_versions=versions,
            only_nodes=list(image.only_nodes) if image.only_nodes is not None else None,
            image_reason=image.reason,
            created_at=change.now,
            created_by=request.caller.actor,
        )
    )
    await job_runs.ask_at_accept(change, workload, revision, spec)
    return revision


def _places_of_secrets(request: CreateWorkload, expansion: Expansion) -> dict[str, str]:
    places = {f"/secrets/{name}": secret for name, secret in expansion.secret_refs.items()}
    if request.spec.pull_secret:
        places["/pull_secret"] = request.spec.pull_secret
    return places
