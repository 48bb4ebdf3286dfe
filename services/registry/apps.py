"""Apps: the workloads of a compose file, applied, shown and removed together, each time in one change.

A change of an app holds a lock of its name, so two files are never applied into each other, and locks the rows of all its workloads before
it does anything (`tables.LOCK_ORDER`): the requests about single workloads, of which it is made, find them locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from lattice.compose_file.reading import AppService
from lattice.contracts.messages import ApplyApp, DeleteApp, GetByName, ListInProject
from lattice.contracts.nouns import DesiredState
from lattice.contracts.spec import WorkloadSpec
from lattice.contracts.views import (
    Accepted,
    AppAccepted,
    AppChange,
    AppPlan,
    AppView,
    Listing,
    OperationView,
)
from lattice.errors import Conflict
from lattice.paging import page_of
from lattice.storage import In, Transaction
from services.registry import app_plan, reading, workload_update, workloads
from services.registry.app_plan import Present
from services.registry.app_reading import Reading, Wanted, read, told_of, without_conditions
from services.registry.app_rows import (
    check_version,
    end,
    find_app,
    is_there,
    lock_name,
    must_find,
    open_app,
    workloads_of,
)
from services.registry.app_views import app_view
from services.registry.change import SYSTEM, Change, Deps
from services.registry.idempotency import remember, replay
from services.registry.public_places import NO_PLACES, PublicPlaces
from services.registry.tables import (
    AppRow,
    InstanceRow,
    NodeRow,
    OperationRow,
    VolumeRow,
    WorkloadRow,
)
from services.registry.workload_create import Member, accept_workload
from services.registry.workload_deps import WorkloadDeps
from services.registry.workload_rows import current_revision


async def apply_app(deps: WorkloadDeps, request: ApplyApp) -> AppAccepted:
    """Make the app as the file says; everything that can be wrong is said now, and then nothing was changed."""
    async with deps.store.transaction() as tx:
        if answered := await replay(tx, request.caller, AppAccepted):
            return answered
    file = await read(deps, request)
    async with deps.change(without_conditions(request.caller), action="app.apply") as change:
        if answered := await replay(change.tx, request.caller, AppAccepted):
            return answered
        await change.tx.lock(lock_name(request.project, request.app))
        app = await open_app(change, request)
        accepted = await _apply(deps, change, app, file)
        return remember(change, accepted, request.caller)


async def plan_app(deps: WorkloadDeps, request: ApplyApp) -> AppPlan:
    """What `apply_app` would do now."""
    file = await read(deps, request)
    async with deps.store.transaction() as tx:
        change = Change(tx, request.caller, "app.plan", deps.now(), deps.new_id)
        await reading.in_project(tx, request.project)
        app = await find_app(tx, request.project, request.app)
        rows = await workloads_of(tx, app.id) if app else []
        changes = await _changes(deps, change, rows, file)
    return AppPlan(app=request.app, changes=changes, ignored=tuple(file.ignored), notes=tuple(file.notes))


async def delete_app(deps: Deps, request: DeleteApp) -> AppAccepted:
    """Remove all workloads of an app.  Volumes are released with their data, or removed too when that was said."""
    async with deps.change(without_conditions(request.caller), action="app.delete") as change:
        if answered := await replay(change.tx, request.caller, AppAccepted):
            return answered
        seen = await must_find(change.tx, request.project, request.app)
        await change.tx.lock(lock_name(seen.project, seen.name))
        app = await must_find(change.tx, request.project, seen.id)
        check_version(app, request.caller)
        rows = await _lock(change, app, ())
        change.tx.update(app, desired=DesiredState.REMOVED, updated_at=change.now)
        _record(change, app, "removing", [row.service or row.name for row in rows])
        removed = [await _remove(change, row, volumes=request.volumes) for row in rows if is_there(row)]
        changes = tuple(_removal(row) for row in rows)
        accepted = await _answer(change, app, removed, Reading((), (), ()), changes)
        return remember(change, accepted, request.caller)


async def get_app(deps: Deps, request: GetByName) -> AppView:
    """One app with its services."""
    async with deps.store.transaction() as tx:
        return await _view(tx, await must_find(tx, request.project, request.ref), deps.now(), deps.places)


async def list_apps(deps: Deps, request: ListInProject) -> Listing[AppView]:
    """Apps, newest first."""
    async with deps.store.transaction() as tx:
        where = await reading.in_project(tx, request.project)
        rows, token = await page_of(tx, AppRow, request, removed_at=None, **where)
        views = [await _view(tx, row, deps.now(), deps.places) for row in rows]
    return Listing(items=tuple(view for view in views if _is_shown(view)), next_page_token=token)


async def finish_removals(deps: Deps) -> None:
    """Apps whose last workload is gone are gone; until the sweep has come here they are only not shown."""
    async with deps.store.transaction() as tx:
        rows = await tx.find(AppRow, desired=DesiredState.REMOVED, removed_at=None, limit=100)
    for row in rows:
        async with deps.change(SYSTEM, action="app.finish") as change:
            await change.tx.lock(lock_name(row.project, row.name))
            app = await change.tx.get(AppRow, row.id)
            if app is not None and app.desired == DesiredState.REMOVED and app.removed_at is None:
                await end(change, app)


async def _view(tx: Transaction, app: AppRow, now: datetime, places: PublicPlaces = NO_PLACES) -> AppView:
    return app_view(app, await reading.views_of(tx, await workloads_of(tx, app.id), now, places))


def _is_shown(view: AppView) -> bool:
    return bool(view.services) or view.state != "removing"


# --- applying ----------------------------------------------------------------------------------------------


async def _apply(deps: WorkloadDeps, change: Change, app: AppRow, file: Reading) -> AppAccepted:
    await change.tx.flush()
    rows = await _lock(change, app, file.services)
    _refuse_leaving(app, rows, file.services)
    changes = await _changes(deps, change, rows, file)
    _record(change, app, "applied", [f"{each.change} {each.service}" for each in changes])
    wanted = {each.service.service: each for each in file.wanted}
    present = {row.service: row for row in rows if is_there(row)}
    accepted = []
    for step in changes:
        if step.change == "keep" and await _is_stale(
            deps, change, wanted[step.service], present[step.service]
        ):
            accepted.append(await _update(deps, change, wanted[step.service], present[step.service]))
        elif step.change == "create":
            accepted.append(await _create(deps, change, app, wanted[step.service]))
        elif step.change == "update":
            accepted.append(await _update(deps, change, wanted[step.service], present[step.service]))
        elif step.change == "remove":
            accepted.append(await _remove(change, present[step.service], volumes=False))
    return await _answer(change, app, accepted, file, changes)


async def _lock(change: Change, app: AppRow, services: Sequence[AppService]) -> list[WorkloadRow]:
    """Everything that belongs to the app's workloads, and the volumes that new ones may adopt."""
    tx = change.tx
    rows = await tx.find(WorkloadRow, app_id=app.id, removed_at=None, lock=True)
    ids = tuple(row.id for row in rows)
    seen = await tx.find(InstanceRow, workload_id=In(ids), gone_at=None) if ids else []
    nodes = tuple({row.node_id for row in seen if row.node_id})
    if nodes:
        await tx.find(NodeRow, id=In(nodes), lock=True)
    if ids:
        await tx.find(InstanceRow, workload_id=In(ids), gone_at=None, lock=True)
        await tx.find(VolumeRow, workload_id=In(ids), removed_at=None, lock=True)
    names = tuple(f"{each.spec.name}-{volume.name}" for each in services for volume in each.spec.volumes)
    if names:
        await tx.find(VolumeRow, project=app.project, name=In(names), removed_at=None, lock=True)
    if ids:
        await tx.find(OperationRow, subject_id=In(ids), ended_at=None, lock=True)
    return rows


def _refuse_leaving(app: AppRow, rows: Sequence[WorkloadRow], services: Sequence[AppService]) -> None:
    """A service that was removed and is not gone yet cannot come back at once."""
    leaving = {row.service for row in rows if not is_there(row)}
    again = [each.service for each in services if each.service in leaving]
    if again:
        raise Conflict(
            f"service {again[0]} of app {app.name} is being removed; apply the file again when it is gone"
        )


async def _changes(
    deps: WorkloadDeps, change: Change, rows: Sequence[WorkloadRow], file: Reading
) -> tuple[AppChange, ...]:
    wanted = {each.service.service: each for each in file.wanted}
    present = {}
    for row in rows:
        if is_there(row):
            service = row.service or row.name
            present[service] = await _present(deps, change, row, wanted.get(service))
    return tuple(app_plan.changes(file.services, present))


async def _present(deps: WorkloadDeps, change: Change, row: WorkloadRow, wanted: Wanted | None) -> Present:
    spec = WorkloadSpec.model_validate((await current_revision(change.tx, row)).spec)
    current = wanted is None or await workload_update.is_as_wanted(
        deps, change, wanted.request, wanted.prepared, row
    )
    return Present(row.name, spec, current)


async def _is_stale(deps: WorkloadDeps, change: Change, wanted: Wanted, row: WorkloadRow) -> bool:
    """Whether a service that was to be kept has credentials of one, or a link to one, that this very change has made or changed."""
    if not (wanted.service.spec.lenders or wanted.service.spec.links):
        return False
    return not await workload_update.is_as_wanted(deps, change, wanted.request, wanted.prepared, row)


async def _create(deps: WorkloadDeps, change: Change, app: AppRow, wanted: Wanted) -> Accepted:
    member = Member(app_id=app.id, app=app.name, service=wanted.service.service)
    with told_of(wanted.service.service):
        return await accept_workload(deps, change, wanted.request, wanted.prepared, member)


async def _update(deps: WorkloadDeps, change: Change, wanted: Wanted, row: WorkloadRow) -> Accepted:
    with told_of(wanted.service.service):
        return await workload_update.update_to(deps, change, wanted.request, wanted.prepared, row)


async def _remove(change: Change, row: WorkloadRow, *, volumes: bool) -> Accepted:
    instances = await change.tx.find(InstanceRow, workload_id=row.id, gone_at=None, lock=True)
    return await workloads.remove(change, workloads.Found(row, instances), volumes=volumes)


def _removal(row: WorkloadRow) -> AppChange:
    return AppChange(service=row.service or row.name, workload=row.name, change="remove")


def _record(change: Change, app: AppRow, verb: str, what: Sequence[str]) -> None:
    change.fact(
        "app",
        verb,
        entity_id=app.id,
        entity_name=app.name,
        project=app.project,
        data={"services": list(what)},
    )
    change.audit("app", app.id, entity_name=app.name, project=app.project, after={verb: list(what)})


async def _answer(
    change: Change,
    app: AppRow,
    accepted: Sequence[Accepted],
    file: Reading,
    changes: tuple[AppChange, ...],
) -> AppAccepted:
    await change.tx.flush()
    operations: tuple[OperationView, ...] = tuple(each.operation for each in accepted)
    return AppAccepted(
        app=app.name,
        changes=changes,
        ignored=tuple(file.ignored),
        notes=tuple(file.notes),
        operations=operations,
        view=await _view(change.tx, app, change.now, change.places),
    )
