"""The row of an app: found, made, ended.  All who change it hold its lock."""

from __future__ import annotations

from lattice.contracts.messages import ApplyApp, Caller
from lattice.contracts.nouns import DesiredState
from lattice.errors import Conflict, NotFound, StaleVersion
from lattice.storage import Transaction
from services.registry.change import Change
from services.registry.tables import AppRow, ProjectRow, WorkloadRow


def lock_name(project: str, app: str) -> str:
    """The lock that every change of an app holds."""
    return f"registry.app.{project}.{app}"


async def open_app(change: Change, request: ApplyApp) -> AppRow:
    """The app of a request, made if there is none.  Raises NotFound, Conflict, StaleVersion."""
    if await change.tx.get(ProjectRow, request.project) is None:
        raise NotFound(f"there is no project {request.project!r}")
    app = await find_app(change.tx, request.project, request.app)
    if app is not None and app.desired == DesiredState.REMOVED:
        await end(change, app)
        if app.removed_at is None:
            raise Conflict(f"app {app.name} is being removed; apply the file again when it is gone")
        await change.tx.flush()
        app = None
    if app is not None:
        check_version(app, request.caller)
        return change.tx.update(app, updated_at=change.now)
    if request.caller.if_match is not None:
        raise NotFound(f"there is no app {request.app!r} in project {request.project}")
    return change.tx.add(
        AppRow(
            id=change.new_id("ap"),
            project=request.project,
            name=request.app,
            desired=DesiredState.RUNNING,
            created_at=change.now,
            updated_at=change.now,
        )
    )


async def end(change: Change, app: AppRow) -> None:
    """An app that is being removed is gone once its last workload is."""
    if not await workloads_of(change.tx, app.id):
        change.tx.update(app, removed_at=change.now)
        change.fact("app", "removed", entity_id=app.id, entity_name=app.name, project=app.project)


def check_version(app: AppRow, caller: Caller) -> None:
    """StaleVersion if the app is not as its caller saw it."""
    if caller.if_match not in (None, "*", f'"{app.version}"', str(app.version)):
        raise StaleVersion(f"app {app.name} changed meanwhile: it is at version {app.version}; look again")


async def find_app(tx: Transaction, project: str, ref: str) -> AppRow | None:
    """The app of this name or id."""
    rows = await tx.find(AppRow, project=project, name=ref, removed_at=None)
    rows = rows or await tx.find(AppRow, project=project, id=ref, removed_at=None)
    return rows[0] if rows else None


async def must_find(tx: Transaction, project: str, ref: str) -> AppRow:
    """The same; NotFound if there is none."""
    app = await find_app(tx, project, ref)
    if app is None or (app.desired == DesiredState.REMOVED and not await workloads_of(tx, app.id)):
        raise NotFound(f"there is no app {ref!r} in project {project}; `lattice app ls` shows all")
    return app


async def workloads_of(tx: Transaction, app_id: str) -> list[WorkloadRow]:
    """Its workloads that are not gone."""
    return await tx.find(WorkloadRow, app_id=app_id, removed_at=None)


def is_there(row: WorkloadRow) -> bool:
    """Whether a workload is not being removed."""
    return row.desired != DesiredState.REMOVED
