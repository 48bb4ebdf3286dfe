"""The runs of jobs: asked for, reported, read.  `job_rules` decides; here rows are loaded and written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from lattice import cron
from lattice.contracts.messages import ListRuns, ObservedDocument, RunRequest, WorkloadCommand
from lattice.contracts.nouns import DesiredState, JobRun, JobRunState, RunTrigger
from lattice.contracts.spec import Kind, WorkloadSpec
from lattice.contracts.views import JobRunView, Listing, WorkloadView
from lattice.errors import Conflict, Invalid
from lattice.paging import page_of
from lattice.storage import In, Not, Transaction
from services.registry.change import Change, Deps
from services.registry.idempotency import remember, replay
from services.registry.job_rules import Folded, Place, Recorded, changes_of, fold_run, requests_for
from services.registry.tables import InstanceRow, JobRunRow, NodeRow, RevisionRow, WorkloadRow
from services.registry.workload_rows import current_revision, find_workload, nodes_away
from services.registry.workloads import load

# Ended runs that are kept of a workload; the oldest go first.
KEPT_RUNS = 100
# Runs that were asked for and have not begun: more than these are a mistake.
MOST_WAITING = 20
_OPEN = (JobRunState.PENDING, JobRunState.RUNNING)

# ------------------------------------------------------------------------------------------------ asked for


async def run_job(deps: Deps, request: WorkloadCommand) -> JobRunView:
    """Ask for a run now, whatever the schedule says."""
    async with deps.change(request.caller, action="workload.run") as change:
        if answered := await replay(change.tx, request.caller, JobRunView):
            return answered
        workload = (await load(change, request)).workload
        revision = await current_revision(change.tx, workload)
        await _check_may_run(change.tx, workload, revision)
        row = ask(change, workload, revision.number, trigger=RunTrigger.MANUAL)
        change.audit(
            "workload",
            workload.id,
            entity_name=workload.name,
            project=workload.project,
            after={"run": row.id},
        )
        await touch(change, workload.id)
        return remember(change, run_view(row, {}))


async def _check_may_run(tx: Transaction, workload: WorkloadRow, revision: RevisionRow) -> None:
    if WorkloadSpec.model_validate(revision.spec).kind is not Kind.JOB:
        raise Invalid(
            f"workload {workload.name} is a service, not a job: only what ends by itself can be run"
        )
    if workload.desired == DesiredState.STOPPED:
        raise Conflict(f"workload {workload.name} is stopped; start it first: lattice start {workload.name}")
    waiting = await tx.count(JobRunRow, workload_id=workload.id, state=JobRunState.PENDING)
    if waiting >= MOST_WAITING:
        raise Conflict(f"{waiting} runs of {workload.name} wait to begin already; wait until they are done")


def ask(change: Change, workload: WorkloadRow, revision: int, *, trigger: RunTrigger) -> JobRunRow:
    """A run that the workload's instance is asked for with its next document."""
    run_id = change.new_id("jr")
    row = change.tx.add(
        JobRunRow(
            id=run_id,
            run_id=run_id,
            workload_id=workload.id,
            workload_name=workload.name,
            project=workload.project,
            revision=revision,
            trigger=trigger,
            scheduled_at=change.now,
            state=JobRunState.PENDING,
            created_at=change.now,
        )
    )
    _tell(change, row, "requested")
    return row


async def ask_at_accept(
    change: Change, workload: WorkloadRow, revision: RevisionRow, spec: WorkloadSpec
) -> None:
    """A job without a schedule runs once with each spec that is accepted; earlier ones that never began are not wanted any more."""
    if spec.kind is not Kind.JOB or spec.schedule is not None:
        return
    await change.tx.lock(_lock_of(workload.id))
    for row in await change.tx.find(
        JobRunRow, workload_id=workload.id, trigger=RunTrigger.DEPLOY, state=JobRunState.PENDING
    ):
        reason = f"revision {revision.number} took its place before it began"
        change.tx.update(row, state=JobRunState.SKIPPED, reason=reason, finished_at=change.now)
    ask(change, workload, revision.number, trigger=RunTrigger.DEPLOY)


async def touch(change: Change, workload_id: str) -> None:
    """Render the documents of the workload's nodes again."""
    rows = await change.tx.find(InstanceRow, workload_id=workload_id, gone_at=None)
    for node_id in sorted({row.node_id for row in rows if row.node_id}):
        node = await change.tx.get(NodeRow, node_id, lock=True)
        if node is not None:
            change.touch_document(node)


async def requests_on(
    tx: Transaction, instances: Sequence[InstanceRow], revisions: Mapping[tuple[str, int], RevisionRow]
) -> dict[str, tuple[RunRequest, ...]]:
    """instance id -> the runs that a node's document asks of it."""
    jobs = [row for row in instances if _is_job(revisions[row.workload_id, row.revision])]
    live = [row for row in jobs if row.desired == DesiredState.RUNNING]
    if not live:
        return {}
    ids = In(tuple(sorted({row.workload_id for row in live})))
    known = [row for row in await tx.find(JobRunRow, workload_id=ids, state=In(_OPEN)) if not row.duplicate]
    if not known:
        return {}
    current = {row.id: row.revision for row in await tx.find(WorkloadRow, id=ids)}
    lost = await _lost(tx, known)
    return {
        row.id: requests_for(
            Place(
                instance_id=row.id, revision=row.revision, is_current=row.revision == current[row.workload_id]
            ),
            [_recorded(each) for each in known if each.workload_id == row.workload_id],
            lost=lost,
        )
        for row in live
    }


def _lock_of(workload_id: str) -> str:
    """Held by whoever changes the runs of a workload, so that one of two nodes that tell of the same is the first."""
    return f"registry.runs.{workload_id}"


def _is_job(revision: RevisionRow) -> bool:
    return revision.run.get("job") is not None


async def _lost(tx: Transaction, known: Iterable[JobRunRow]) -> frozenset[str]:
    """The instances that were replaced because their node is away: their runs are asked for again."""
    ids = tuple(sorted({row.instance_id for row in known if row.instance_id}))
    rows = await tx.find(InstanceRow, id=In(ids)) if ids else []
    left = [row for row in rows if row.desired == DesiredState.REMOVED]
    away = await nodes_away(tx) if left else frozenset[str]()
    return frozenset(row.id for row in left if row.node_id in away or row.node_id is None)


# ------------------------------------------------------------------------------------------------ reported


async def fold_runs(change: Change, node: NodeRow, document: ObservedDocument) -> None:
    """Record what a node tells of runs, once each; it tells again until its document says that they are known."""
    if not document.runs:
        return
    ids = In(tuple(sorted({run.instance_id for run in document.runs})))
    instances = {row.id: row for row in await change.tx.find(InstanceRow, id=ids, node_id=node.id)}
    for workload_id in sorted({row.workload_id for row in instances.values()}):
        await change.tx.lock(_lock_of(workload_id))
    for run in document.runs:
        if run.instance_id in instances:
            await _fold(change, instances[run.instance_id], run)
    newest = max(run.serial for run in document.runs)
    # What is under way may be told again; what has ended is taken out of the reports with the next document.
    if any(run.state.ended for run in document.runs):
        change.touch_document(node)
    if newest > node.runs_known:
        change.tx.update(node, runs_known=newest)


async def _fold(change: Change, instance: InstanceRow, seen: JobRun) -> None:
    workload_id = instance.workload_id
    known = await change.tx.find(JobRunRow, workload_id=workload_id, run_id=seen.run_id)
    live = await change.tx.find(
        InstanceRow, workload_id=workload_id, gone_at=None, desired=DesiredState.RUNNING
    )
    folded = fold_run(seen, [_recorded(row) for row in known], live={row.id for row in live})
    for row in known:
        if row.id in folded.superseded:
            change.tx.update(row, duplicate=True)
    before = next((row for row in known if row.id == folded.record_id), None)
    if before is None:
        await _record(change, instance, seen, folded)
    elif folded.is_news:
        _bring_up_to_date(change, before, instance, seen)
    await change.tx.flush()


def _bring_up_to_date(change: Change, row: JobRunRow, instance: InstanceRow, seen: JobRun) -> None:
    changes = changes_of(seen) | _whose(instance)
    changed = {name: value for name, value in changes.items() if getattr(row, name) != value}
    if not changed:
        return
    is_new_state = "state" in changed
    change.tx.update(row, **changed)
    if is_new_state:
        _tell(change, row, seen.state)


async def _record(change: Change, instance: InstanceRow, seen: JobRun, folded: Folded) -> None:
    row = change.tx.add(
        JobRunRow(
            id=change.new_id("jr"),
            run_id=seen.run_id,
            workload_id=instance.workload_id,
            workload_name=instance.workload_name,
            project=instance.project,
            trigger=seen.trigger,
            scheduled_at=seen.scheduled_at,
            duplicate=folded.duplicate,
            created_at=change.now,
            **_whose(instance),
            **changes_of(seen),
        )
    )
    _tell(change, row, seen.state)
    await _forget(change, instance.workload_id)


async def _forget(change: Change, workload_id: str) -> None:
    await change.tx.flush()
    rows = await change.tx.find(JobRunRow, workload_id=workload_id, order_by=("-id",))
    for row in rows[KEPT_RUNS:]:
        if JobRunState(row.state).ended:
            change.tx.delete(row)


def _whose(instance: InstanceRow) -> dict[str, Any]:
    return {
        "instance_id": instance.id,
        "node_id": instance.node_id,
        "slot": instance.slot,
        "epoch": instance.epoch,
        "revision": instance.revision,
    }


def _tell(change: Change, row: JobRunRow, verb: str) -> None:
    change.fact(
        "run",
        verb,
        entity_id=row.id,
        entity_name=row.workload_name,
        workload_id=row.workload_id,
        project=row.project,
        data={
            "trigger": row.trigger,
            "scheduled_at": row.scheduled_at.isoformat(),
            "exit_code": row.exit_code,
            "reason": row.reason,
            "duplicate": row.duplicate,
        },
    )


def _recorded(row: JobRunRow) -> Recorded:
    return Recorded(
        id=row.id,
        run_id=row.run_id,
        instance_id=row.instance_id,
        trigger=RunTrigger(row.trigger),
        revision=row.revision,
        state=JobRunState(row.state),
        scheduled_at=row.scheduled_at,
        duplicate=row.duplicate,
    )


# ------------------------------------------------------------------------------------------------ read


async def list_runs(deps: Deps, request: ListRuns) -> Listing[JobRunView]:
    """The runs of a workload, newest first."""
    async with deps.store.transaction() as tx:
        workload = await find_workload(tx, request.project, request.ref)
        rows, token = await page_of(tx, JobRunRow, request, workload_id=workload.id)
        nodes = {node.id: node.name for node in await tx.find(NodeRow, removed_at=None)}
    return Listing(items=tuple(run_view(row, nodes) for row in rows), next_page_token=token)


def run_view(row: JobRunRow, nodes: Mapping[str, str]) -> JobRunView:
    """One run; `nodes` are names by id."""
    data = row.model_dump(include=JobRunView.model_fields.keys() - {"node", "workload"})
    return JobRunView(**data, workload=row.workload_name, node=nodes.get(row.node_id or ""))


async def with_runs(
    tx: Transaction, views: Sequence[WorkloadView], nodes: Mapping[str, str], now: datetime
) -> list[WorkloadView]:
    """The views of jobs with when they run next and how they ran last."""
    return [await _with_runs(tx, view, nodes, now) if view.spec.kind is Kind.JOB else view for view in views]


async def _with_runs(
    tx: Transaction, view: WorkloadView, nodes: Mapping[str, str], now: datetime
) -> WorkloadView:
    rows = await tx.find(
        JobRunRow,
        workload_id=view.id,
        duplicate=False,
        state=Not(JobRunState.SKIPPED.value),
        order_by=("-id",),
        limit=1,
    )
    return _with_run(view, rows[0] if rows else None, nodes, now)


def _with_run(
    view: WorkloadView, row: JobRunRow | None, nodes: Mapping[str, str], now: datetime
) -> WorkloadView:
    schedule = view.spec.schedule if view.desired_state is DesiredState.RUNNING else None
    return view.model_copy(
        update={
            "last_run": None if row is None else run_view(row, nodes),
            "next_run_at": schedule and cron.next_after(schedule.cron, schedule.timezone, now),
        }
    )
