"""What a spec would change, found out by doing it in a transaction that is undone: so a plan is refused with exactly what an update would be
refused with, and cannot promise what an update would not do.

Where the instances would go is the scheduler's to say; the plan carries what to ask it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from lattice.contracts.messages import (
    CreateWorkload,
    Leaving,
    PlanWorkload,
    TrialStep,
    TryPlacements,
    WorkloadCommand,
    WorkloadPlan,
)
from lattice.contracts.nouns import Amounts, DesiredState
from lattice.contracts.spec import UpdateOrder, WorkloadSpec
from lattice.contracts.views import PlanAction, PlanView
from lattice.storage import Transaction
from services.registry import accept, converging
from services.registry.change import Change
from services.registry.placement_wishes import placement_requests
from services.registry.spec_changes import spec_changes
from services.registry.tables import InstanceRow, RevisionRow, RolloutRow, WorkloadRow
from services.registry.workload_create import Prepared, accept_workload, prepare
from services.registry.workload_deps import WorkloadDeps
from services.registry.workload_rows import current_revision, newest_instances
from services.registry.workload_update import update_to
from services.registry.workloads import load


class _Undo(Exception):
    def __init__(self, plan: WorkloadPlan) -> None:
        super().__init__()
        self.plan = plan


@dataclass(frozen=True, slots=True)
class _Before:
    """A workload as it is, kept from rows that are about to change."""

    version: int
    revision: int
    spec: Mapping[str, Any]
    image: str
    leaving: Mapping[int, Leaving | None]  # by slot; None where the instance has no place


async def plan_workload(deps: WorkloadDeps, request: PlanWorkload) -> WorkloadPlan:
    """What this spec would change now; nothing is written."""
    prepared = await prepare(deps, request)
    try:
        await _do_and_undo(deps, request, prepared)
    except _Undo as undone:
        return undone.plan


async def _do_and_undo(deps: WorkloadDeps, wanted: CreateWorkload, prepared: Prepared) -> NoReturn:
    async with deps.change(wanted.caller, action="workload.plan") as change:
        known = await change.tx.find(
            WorkloadRow, project=wanted.project, name=wanted.spec.name, removed_at=None
        )
        plan = await (_update if known else _create)(deps, change, wanted, prepared)
        raise _Undo(plan)
    raise AssertionError("the change is always undone")


async def _create(
    deps: WorkloadDeps, change: Change, wanted: CreateWorkload, prepared: Prepared
) -> WorkloadPlan:
    await accept_workload(deps, change, wanted, prepared)
    await change.tx.flush()
    (workload,) = await change.tx.find(
        WorkloadRow, project=wanted.project, name=wanted.spec.name, removed_at=None
    )
    instances = await change.tx.find(InstanceRow, workload_id=workload.id)
    view = PlanView(
        name=wanted.spec.name,
        project=wanted.project,
        action=PlanAction.CREATE,
        version=0,
        spec=wanted.spec,
        image=prepared.image.reference,
        added=len(instances),
    )
    return WorkloadPlan(
        view=view, trial=TryPlacements(steps=tuple(await _steps(change.tx, instances, leaving={})))
    )


async def _update(
    deps: WorkloadDeps, change: Change, wanted: CreateWorkload, prepared: Prepared
) -> WorkloadPlan:
    command = WorkloadCommand(caller=wanted.caller, project=wanted.project, workload=wanted.spec.name)
    workload, instances = await load(change, command)
    before = _before(workload, await current_revision(change.tx, workload), instances)
    await update_to(deps, change, wanted, prepared, workload)
    await change.tx.flush()
    revision = await current_revision(change.tx, workload)
    rollout = await converging.active_rollout(change, workload.id)
    if revision.number == before.revision:
        return WorkloadPlan(view=_nothing(wanted, before, rollout), trial=TryPlacements())
    replaces = rollout is not None and rollout.to_revision == revision.number
    runs = workload.desired == DesiredState.RUNNING
    slots = _new_slots(wanted.spec, before.leaving, replaces=replaces) if runs else []
    before_slots = await newest_instances(change.tx, workload)
    made = accept.new_instances(change, workload, revision, slots=slots, before=before_slots)
    await change.tx.flush()
    order = UpdateOrder(rollout.update_order) if rollout is not None and replaces else None
    replaced = sum(slot in before.leaving for slot in slots)
    view = PlanView(
        name=wanted.spec.name,
        project=wanted.project,
        action=PlanAction.UPDATE,
        reason=_reason(before, wanted.spec, revision, runs=runs),
        version=before.version,
        revision=before.revision,
        changes=spec_changes(before.spec, wanted.spec.model_dump(mode="json")),
        spec=wanted.spec,
        image=revision.image,
        image_before=before.image,
        order=order,
        order_reason=rollout.order_reason if rollout is not None and replaces else "",
        replaced=replaced,
        added=len(slots) - replaced,
        removed=sum(slot >= wanted.spec.replicas for slot in before.leaving) if runs else 0,
    )
    steps = await _steps(change.tx, made, leaving=before.leaving)
    return WorkloadPlan(
        view=view, trial=TryPlacements(steps=tuple(steps), stop_first=order is UpdateOrder.STOP_FIRST)
    )


def _before(workload: WorkloadRow, revision: RevisionRow, instances: Iterable[InstanceRow]) -> _Before:
    running = [row for row in instances if row.desired == DesiredState.RUNNING]
    return _Before(
        version=workload.version,
        revision=revision.number,
        spec=WorkloadSpec.model_validate(revision.spec).model_dump(mode="json"),
        image=revision.image,
        leaving={row.slot: _leaving(row) for row in running},
    )


def _leaving(row: InstanceRow) -> Leaving | None:
    if row.node_id is None:
        return None
    return Leaving(
        workload_id=row.workload_id,
        node_id=row.node_id,
        reserve=Amounts(cpu_millis=row.cpu_millis, memory_bytes=row.memory_bytes, disk_bytes=row.disk_bytes),
        document_bytes=row.document_bytes,
    )


def _new_slots(spec: WorkloadSpec, there: Mapping[int, Leaving | None], *, replaces: bool) -> list[int]:
    return [slot for slot in range(spec.replicas) if replaces or slot not in there]


def _nothing(wanted: CreateWorkload, before: _Before, rollout: RolloutRow | None) -> PlanView:
    under_way = rollout is not None and rollout.to_revision == before.revision
    return PlanView(
        name=wanted.spec.name,
        project=wanted.project,
        action=PlanAction.NOTHING,
        reason="it is being rolled out already" if under_way else "it is as described already",
        version=before.version,
        revision=before.revision,
        spec=wanted.spec,
        image=before.image,
        image_before=before.image,
    )


def _reason(before: _Before, spec: WorkloadSpec, revision: RevisionRow, *, runs: bool) -> str:
    if not runs:
        return "it is stopped: the change counts from the next start on"
    if before.spec != spec.model_dump(mode="json"):
        return ""
    if before.image != revision.image:
        return "the image's name means other content by now"
    return "a secret that it uses has a newer version"


async def _steps(
    tx: Transaction, made: Sequence[InstanceRow], *, leaving: Mapping[int, Leaving | None]
) -> list[TrialStep]:
    requests = sorted(await placement_requests(tx, made), key=lambda request: request.slot)
    return [TrialStep(request=request, leaving=leaving.get(request.slot)) for request in requests]
