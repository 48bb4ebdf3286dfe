"""Requests that only read: workloads, operations, volumes, facts, audit.  Asked of the registry itself, so a read after a write never misses it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from lattice.contracts.messages import (
    Empty,
    FactsPage,
    GetByName,
    InstanceOwners,
    KnownInstances,
    ListAudit,
    ListFacts,
    ListInProject,
    Page,
)
from lattice.contracts.views import (
    AuditView,
    Listing,
    OperationView,
    ProjectView,
    RevisionView,
    RouteView,
    SecretView,
    TemplateView,
    VolumeView,
    WorkloadView,
)
from lattice.errors import Conflict, NotFound
from lattice.paging import page_of
from lattice.storage import Gt, In, Transaction
from services.registry.change import Deps
from services.registry.job_runs import with_runs
from services.registry.link_views import links_of
from services.registry.operations import operation_view
from services.registry.public_places import NO_PLACES, PublicPlaces
from services.registry.relay import fact_of
from services.registry.route_documents import route_view
from services.registry.tables import (
    AuditRow,
    DomainRow,
    FactHeadRow,
    FactRow,
    InstanceRow,
    NodeRow,
    OperationRow,
    ProjectRow,
    RevisionRow,
    RolloutRow,
    RouteRow,
    SecretRow,
    VolumeRow,
    WorkloadRow,
)
from services.registry.workload_deps import WorkloadDeps
from services.registry.workload_rows import find_workload
from services.registry.workload_views import node_words, revision_view, volume_view, workload_view


async def in_project(tx: Transaction, project: str | None) -> dict[str, str]:
    """What rows of the project have; NotFound if there is no such project: a mistyped name must not look like an empty one."""
    if project is None:
        return {}
    if await tx.get(ProjectRow, project) is None:
        raise NotFound(f"there is no project {project!r}; `lattice project ls` shows all")
    return {"project": project}


async def list_templates(deps: WorkloadDeps, request: Empty) -> Listing[TemplateView]:
    """The service catalogue, by name."""
    return Listing(items=tuple(template.view() for _, template in sorted(deps.templates.items())))


async def get_workload(deps: Deps, request: GetByName) -> WorkloadView:
    """One workload with its instances."""
    async with deps.store.transaction() as tx:
        row = await find_workload(tx, request.project, request.ref)
        return (await views_of(tx, [row], deps.now(), deps.places))[0]


async def list_workloads(deps: Deps, request: ListInProject) -> Listing[WorkloadView]:
    """Workloads, newest first."""
    async with deps.store.transaction() as tx:
        where = await in_project(tx, request.project)
        rows, token = await page_of(tx, WorkloadRow, request, removed_at=None, **where)
        views = await views_of(tx, rows, deps.now(), deps.places)
        return Listing(items=tuple(views), next_page_token=token)


async def views_of(
    tx: Transaction, rows: Sequence[WorkloadRow], now: datetime, places: PublicPlaces = NO_PLACES
) -> list[WorkloadView]:
    """These workloads as they are shown."""
    if not rows:
        return []
    instances = await tx.find(InstanceRow, workload_id=In(tuple(row.id for row in rows)), gone_at=None)
    nodes = node_words(await tx.find(NodeRow, removed_at=None))
    ids = tuple(f"{row.id}-{row.revision}" for row in rows)
    revisions = {revision.workload_id: revision for revision in await tx.find(RevisionRow, id=In(ids))}
    rollouts = await tx.find(
        RolloutRow, workload_id=In(tuple(row.id for row in rows)), order_by=("started_at",)
    )
    newest = {rollout.workload_id: rollout for rollout in rollouts}
    routes = await routes_of(tx, [row.id for row in rows], places)
    links = await links_of(tx, rows, revisions)
    views = [
        workload_view(
            row,
            revisions[row.id],
            [i for i in instances if i.workload_id == row.id],
            nodes,
            newest.get(row.id),
            routes.get(row.id, ()),
            links.get(row.id, ()),
        )
        for row in rows
    ]
    return await with_runs(tx, views, {node_id: word.name for node_id, word in nodes.items()}, now)


async def routes_of(
    tx: Transaction, workload_ids: Sequence[str], places: PublicPlaces
) -> dict[str, list[RouteView]]:
    """workload id -> its public addresses, in the order in which they were given."""
    found: dict[str, list[RouteView]] = {}
    domains = await tx.find(DomainRow, workload_id=In(tuple(workload_ids)), order_by=("name", "id"))
    for row in await tx.find(RouteRow, workload_id=In(tuple(workload_ids)), released_at=None):
        if (view := route_view(row, places, [each for each in domains if each.route_id == row.id])).url:
            found.setdefault(row.workload_id, []).append(view)
    return found


async def list_revisions(deps: Deps, request: GetByName) -> Listing[RevisionView]:
    """The specs of a workload over time, newest first."""
    async with deps.store.transaction() as tx:
        workload = await find_workload(tx, request.project, request.ref)
        rows = await tx.find(RevisionRow, workload_id=workload.id, order_by=("-number",))
        rollouts = await tx.find(RolloutRow, workload_id=workload.id, order_by=("started_at",))
    newest = {rollout.to_revision: rollout for rollout in rollouts}
    views = [
        revision_view(row, current=row.number == workload.revision, rollout=newest.get(row.number))
        for row in rows
    ]
    return Listing(items=tuple(views))


async def get_operation(deps: Deps, request: GetByName) -> OperationView:
    """One operation, by id."""
    async with deps.store.transaction() as tx:
        row = await tx.get(OperationRow, request.ref)
    if row is None:
        raise NotFound(f"there is no operation {request.ref!r}")
    return operation_view(row)


async def list_operations(deps: Deps, request: ListInProject) -> Listing[OperationView]:
    """Operations, newest first, without their logs."""
    async with deps.store.transaction() as tx:
        where = await in_project(tx, request.project)
        rows, token = await page_of(tx, OperationRow, request, **where)
    shown = (operation_view(row).model_copy(update={"log": ()}) for row in rows)
    return Listing(items=tuple(shown), next_page_token=token)


async def list_volumes(deps: Deps, request: ListInProject) -> Listing[VolumeView]:
    """Volumes, newest first."""
    async with deps.store.transaction() as tx:
        where = await in_project(tx, request.project)
        rows, token = await page_of(tx, VolumeRow, request, removed_at=None, **where)
        views = await _volume_views(tx, rows)
    return Listing(items=tuple(views), next_page_token=token)


async def get_volume(deps: Deps, request: GetByName) -> VolumeView:
    """One volume, by id, or by its name where that is unique."""
    async with deps.store.transaction() as tx:
        where: dict[str, Any] = {"project": request.project, "removed_at": None}
        rows = await tx.find(VolumeRow, id=request.ref, **where)
        rows = rows or await tx.find(VolumeRow, name=request.ref, **where)
        views = await _volume_views(tx, rows)
    if not views:
        raise NotFound(
            f"there is no volume {request.ref!r} in project {request.project}; see `lattice volume ls`"
        )
    if len(views) > 1:
        choices = ", ".join(f"{view.id} (slot {view.slot})" for view in views)
        raise Conflict(f"several volumes are called {request.ref!r}; give an id: {choices}")
    return views[0]


async def _volume_views(tx: Transaction, rows: Sequence[VolumeRow]) -> list[VolumeView]:
    if not rows:
        return []
    nodes = node_words(await tx.find(NodeRow, removed_at=None))
    workloads = {row.id: row.name for row in await tx.find(WorkloadRow, removed_at=None)}
    owners = await tx.find(SecretRow, owner=In(tuple(row.id for row in rows)))
    with_credentials = {secret.owner for secret in owners}
    return [volume_view(row, nodes, workloads, has_credentials=row.id in with_credentials) for row in rows]


async def list_secrets(deps: Deps, request: ListInProject) -> Listing[SecretView]:
    """The project's own secrets, never values; those that templates made are not listed."""
    async with deps.store.transaction() as tx:
        where = await in_project(tx, request.project)
        rows, token = await page_of(tx, SecretRow, request, owner="", **where)
    return Listing(items=tuple(secret_view(row) for row in rows), next_page_token=token)


def secret_view(row: SecretRow) -> SecretView:
    """A secret without its value."""
    return SecretView(
        name=row.name,
        project=row.project,
        version=row.current,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


async def list_projects(deps: Deps, request: Page) -> Listing[ProjectView]:
    """All projects."""
    async with deps.store.transaction() as tx:
        rows, token = await page_of(tx, ProjectRow, request)
    return Listing(
        items=tuple(ProjectView(name=row.id, created_at=row.created_at) for row in rows),
        next_page_token=token,
    )


async def list_facts(deps: Deps, request: ListFacts) -> FactsPage:
    """Facts after a `seq`, or the newest ones."""
    where: dict[str, Any] = {
        name: value
        for name, value in (
            ("project", request.project),
            ("entity", request.entity),
            ("entity_id", request.entity_id),
            ("workload_id", request.workload_id),
        )
        if value is not None
    }
    order = ("-seq",) if request.newest_first else ("seq",)
    async with deps.store.transaction() as tx:
        head = await tx.get(FactHeadRow, 1)
        rows = await tx.find(FactRow, seq=Gt(request.after), order_by=order, limit=request.limit, **where)
    return FactsPage(facts=tuple(fact_of(row) for row in rows), head=head.seq if head else 0)


async def list_audit(deps: Deps, request: ListAudit) -> Listing[AuditView]:
    """The registry's audit rows, newest first."""
    where = request.model_dump(include={"project", "actor", "action"}, exclude_none=True)
    async with deps.store.transaction() as tx:
        rows, token = await page_of(tx, AuditRow, request, **where)
    return Listing(
        items=tuple(AuditView.model_validate(row.model_dump()) for row in rows), next_page_token=token
    )


async def known_instances(deps: Deps, request: KnownInstances) -> InstanceOwners:
    """The instance if the node has or had it: logs of others are refused."""
    async with deps.store.transaction() as tx:
        rows = await tx.find(InstanceRow, id=request.instance_id, node_id=request.node_id)
        node = await tx.get(NodeRow, request.node_id)
    return InstanceOwners(
        instances={row.id: (row.project, row.workload_id, row.workload_name) for row in rows},
        node_name=node.name if node else "",
    )
