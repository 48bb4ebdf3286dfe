"""Lets instances go on that wait for other workloads: load, ask `dependencies`, apply.  Under the lock of the waiting workload."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lattice.contracts.nouns import DesiredState, Health, Phase
from lattice.contracts.spec import Condition, WorkloadSpec
from lattice.errors import FieldError, Invalid
from lattice.storage import In, Not, Transaction
from services.registry.change import Change
from services.registry.dependencies import Other, Part, first_wait
from services.registry.tables import InstanceRow, RevisionRow, WorkloadRow
from services.registry.workload_rows import lock_instances, touch_nodes


async def look(change: Change, workload: WorkloadRow) -> None:
    """Let the instances of a workload go on for which nothing is in the way any more; say of the others what they wait for."""
    if not await change.tx.count(InstanceRow, workload_id=workload.id, gone_at=None, waits_on=Not(None)):
        return
    rows = await lock_instances(change, workload.id)
    waiting = [row for row in rows if row.waits_on is not None and row.desired == DesiredState.RUNNING]
    depends_on = await _depends_on(change.tx, waiting)
    names = {name for conditions in depends_on.values() for name in conditions}
    others = await _others(change.tx, workload.project, names)
    released = [row for row in waiting if _look(change, row, depends_on[row.revision], others)]
    await touch_nodes(change, released)


async def waiting_on(tx: Transaction, workload: WorkloadRow) -> set[str]:
    """The ids of workloads of which an instance waits for this one."""
    rows = await tx.find(InstanceRow, project=workload.project, waits_on=workload.name, gone_at=None)
    return {row.workload_id for row in rows}


async def check_known(change: Change, project: str, spec: WorkloadSpec) -> None:
    """Invalid if the spec depends on a workload that is not there: it would wait for ever."""
    names = set(spec.depends_on)
    known = await _workloads(change.tx, project, names)
    for name in sorted(names - known.keys()):
        detail = f"there is no workload {name!r} in project {project}; `lattice ps` shows all"
        raise Invalid(detail, errors=[FieldError(pointer=f"/depends_on/{name}", detail=detail)])


def _look(
    change: Change, row: InstanceRow, depends_on: Mapping[str, Condition], others: Mapping[str, Other]
) -> bool:
    wait = first_wait(depends_on, others)
    if wait is not None:
        if (row.waits_on, row.waits_for) != (wait.on, wait.reason):
            change.tx.update(row, waits_on=wait.on, waits_for=wait.reason)
        return False
    waited_for = row.waits_for
    change.tx.update(row, waits_on=None, waits_for="", released_at=change.now, unready_since=change.now)
    change.fact(
        "instance",
        "released",
        entity_id=row.id,
        entity_name=row.workload_name,
        workload_id=row.workload_id,
        project=row.project,
        data={"slot": row.slot, "epoch": row.epoch, "waited_for": waited_for},
    )
    return True


async def _depends_on(tx: Transaction, rows: Collection[InstanceRow]) -> dict[int, dict[str, Condition]]:
    """revision -> what its instances wait for."""
    ids = tuple({f"{row.workload_id}-{row.revision}" for row in rows})
    revisions = await tx.find(RevisionRow, id=In(ids)) if ids else []
    return {row.number: WorkloadSpec.model_validate(row.spec).depends_on for row in revisions}


async def _workloads(tx: Transaction, project: str, names: Collection[str]) -> dict[str, WorkloadRow]:
    await tx.flush()
    found = (
        await tx.find(WorkloadRow, project=project, name=In(tuple(names)), removed_at=None) if names else []
    )
    return {row.name: row for row in found}


async def _others(tx: Transaction, project: str, names: Collection[str]) -> dict[str, Other]:
    workloads = await _workloads(tx, project, names)
    ids = tuple(row.id for row in workloads.values())
    rows = await tx.find(InstanceRow, workload_id=In(ids), gone_at=None) if ids else []
    return {name: _other(row, rows) for name, row in workloads.items()}


def _other(workload: WorkloadRow, rows: Collection[InstanceRow]) -> Other:
    parts = [
        Part(phase=Phase(row.phase), health=Health(row.health), ended=row.ended, reason=row.reason)
        for row in rows
        if row.workload_id == workload.id
        and row.revision == workload.revision
        and row.desired == DesiredState.RUNNING
    ]
    return Other(replicas=workload.replicas, desired=DesiredState(workload.desired), parts=parts)
