"""What becomes of an operation: `next_step` is pure; `advance` applies it in the transaction of whatever was observed.

An operation watches instances.  It ends when they are as wanted, when one of them cannot become so, or at its deadline: never later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from lattice.contracts.nouns import Health, OperationState, Phase, RolloutState
from lattice.contracts.states import serves
from lattice.contracts.views import OperationView
from lattice.storage import In
from services.registry.change import Change
from services.registry.last_exits import last_words
from services.registry.operation_log import last_words as last_words_of
from services.registry.operation_log import with_line
from services.registry.tables import InstanceRow, NodeRow, OperationRow, WorkloadRow

# A container that ended this often by itself will not become ready by being started again.
CRASHES_TO_FAIL = 3


class Kind(StrEnum):
    DEPLOY = "deploy"
    START = "start"
    RESTART = "restart"
    STOP = "stop"
    REMOVE = "remove"
    UPDATE = "update"
    ROLLBACK = "rollback"
    SCALE = "scale"
    DRAIN = "drain"
    UNCORDON = "uncordon"  # never an operation of its own: it ends a drain


# These wait for the whole workload to be as wanted, not for certain instances.
CONVERGING = frozenset({Kind.UPDATE, Kind.ROLLBACK, Kind.SCALE})

DEADLINES: dict[Kind, timedelta] = {
    Kind.DEPLOY: timedelta(minutes=10),
    Kind.START: timedelta(minutes=5),
    Kind.RESTART: timedelta(minutes=10),
    Kind.STOP: timedelta(minutes=2),
    Kind.REMOVE: timedelta(minutes=5),
    Kind.UPDATE: timedelta(minutes=10),
    Kind.ROLLBACK: timedelta(minutes=10),
    Kind.SCALE: timedelta(minutes=10),
    Kind.DRAIN: timedelta(hours=1),
}


@dataclass(frozen=True, slots=True)
class Watched:
    """What an operation knows of one of its instances."""

    slot: int
    node: str | None
    node_away: bool
    phase: Phase
    health: Health
    gone: bool
    reason: str = ""
    progress: str = ""
    restarts: int = 0
    exit_code: int | None = None
    ended: bool = False
    last_log: tuple[str, ...] = ()

    @property
    def serves(self) -> bool:
        """Whether it is as it ought to be."""
        return serves(self.phase, self.health, ended=self.ended)


@dataclass(frozen=True, slots=True)
class Step:
    """Where the operation stands now."""

    state: OperationState
    progress: str
    percent: int | None = None
    result: dict[str, Any] | None = None
    problem: dict[str, Any] | None = field(default=None)


def next_step(kind: Kind, watched: Sequence[Watched], *, deadline: datetime, now: datetime) -> Step:
    """The operation's state, from what is seen of its instances."""
    step = _removal(kind, watched) if kind in (Kind.REMOVE, Kind.STOP) else _arrival(watched)
    return in_time(step, deadline=deadline, now=now)


def in_time(step: Step, *, deadline: datetime, now: datetime) -> Step:
    """The step, unless the deadline has come and it is not an end."""
    if step.state.ended or now < deadline:
        return step
    detail = (
        f"not done before its deadline; {step.progress}" if step.progress else "not done before its deadline"
    )
    problem = problem_of("deadline_exceeded", detail)
    return Step(OperationState.FAILED, step.progress, result=step.result, problem=problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """Where a workload is on the way to its goal; `now` says what the first instance that is not ready is doing."""

    settled: bool
    state: RolloutState | None
    reason: str = ""
    now: str = ""
    last_log: tuple[str, ...] = ()


def convergence_step(
    seen: Convergence, *, ready: int, replicas: int, deadline: datetime, now: datetime
) -> Step:
    """Where an operation stands that waits for a workload to be as wanted."""
    if seen.state is RolloutState.FAILED:
        return _not_updated("update_failed", seen.reason, seen.last_log)
    if seen.settled and seen.state is RolloutState.ROLLED_BACK:
        detail = f"{seen.reason}; the earlier revision serves"
        return _not_updated("rolled_back", detail, seen.last_log)
    if seen.settled:
        return Step(OperationState.SUCCEEDED, "", 100, result={"instances": replicas})
    doing = f"; {seen.now}" if seen.now else ""
    back = f"going back, because {seen.reason}: " if seen.state is RolloutState.ROLLING_BACK else ""
    step = Step(
        OperationState.RUNNING, f"{back}{ready}/{replicas} ready{doing}", 100 * ready // max(1, replicas)
    )
    return in_time(step, deadline=deadline, now=now)


def _not_updated(code: str, reason: str, log: Sequence[str]) -> Step:
    return Step(OperationState.FAILED, reason, problem=problem_of(code, reason, log))


def problem_of(code: str, detail: str, log: Sequence[str] = ()) -> dict[str, Any]:
    """Why an operation failed (a ProblemView), with what the failed instance printed last."""
    return {"code": code, "detail": detail} | ({"log": list(log)} if log else {})


def _arrival(watched: Sequence[Watched]) -> Step:
    ready = sum(instance.serves for instance in watched)
    if ready == len(watched):
        return Step(OperationState.SUCCEEDED, "", 100, result={"instances": len(watched)})
    lost = [instance for instance in watched if instance.phase is Phase.FAILED and is_hopeless(instance)]
    if lost:
        return Step(
            OperationState.FAILED,
            lost[0].reason,
            problem=problem_of("instance_failed", lost[0].reason, lost[0].last_log),
        )
    waiting = next(instance for instance in watched if not instance.serves)
    return Step(OperationState.RUNNING, _progress(waiting, ready, len(watched)), 100 * ready // len(watched))


def is_hopeless(instance: Watched) -> bool:
    """Whether a failed instance will not become ready by being tried again."""
    never_started = instance.exit_code is None
    return never_started or instance.ended or instance.restarts >= CRASHES_TO_FAIL


def _progress(instance: Watched, ready: int, total: int) -> str:
    now = instance.progress or instance.reason
    if not now:
        waits = instance.phase is Phase.RUNNING and instance.health is Health.UNKNOWN
        now = (
            "waiting for its health check"
            if waits
            else "waiting for a place"
            if instance.node is None
            else instance.phase
        )
    return f"{ready}/{total} ready; {now}" if total > 1 else now


def _removal(kind: Kind, watched: Sequence[Watched]) -> Step:
    wanted = [i for i in watched if not _has_left(kind, i)]
    away = sorted({instance.node or "" for instance in wanted if instance.node_away})
    if any(not instance.node_away for instance in wanted):
        left = len(watched) - len(wanted)
        return Step(OperationState.RUNNING, f"{left}/{len(watched)} done", 100 * left // len(watched))
    return Step(OperationState.SUCCEEDED, "", 100, result={"pending_nodes": away})


def _has_left(kind: Kind, instance: Watched) -> bool:
    return instance.gone or (kind is Kind.STOP and instance.phase in (Phase.STOPPED, Phase.FAILED))


def begin(
    change: Change,
    kind: Kind,
    workload: WorkloadRow,
    *,
    instance_ids: Sequence[str] = (),
    takes: timedelta | None = None,
) -> OperationRow:
    """A new operation about instances of a workload; it `takes` at most its kind's usual time, if nothing else is said."""
    row = OperationRow(
        id=change.new_id("op"),
        kind=kind,
        state=OperationState.PENDING,
        project=workload.project,
        subject_kind="workload",
        subject_id=workload.id,
        subject_name=workload.name,
        instance_ids=list(instance_ids),
        created_at=change.now,
        created_by=change.caller.actor,
        deadline=change.now + (takes or DEADLINES[kind]),
    )
    change.operation_id = row.id
    return change.tx.add(row)


async def open_operations(change: Change, workload_id: str) -> list[OperationRow]:
    """The operations of a workload that have not ended."""
    return await change.tx.find(OperationRow, subject_id=workload_id, ended_at=None, lock=True)


async def supersede(change: Change, workload_id: str, *, by: Kind) -> None:
    """End what was under way for a workload: a newer command decides from now on, and nothing would ever come of it."""
    problem = {"code": "superseded", "detail": f"a newer command came meanwhile: {by}"}
    for row in await open_operations(change, workload_id):
        apply_step(change, row, Step(OperationState.CANCELLED, row.progress, row.percent, problem=problem))


async def begin_for_node(
    change: Change, kind: Kind, node: NodeRow, *, takes: timedelta, instance_ids: Sequence[str]
) -> OperationRow:
    """A new operation about a node; what was under way for it is over."""
    await supersede(change, node.id, by=kind)
    row = OperationRow(
        id=change.new_id("op"),
        kind=kind,
        state=OperationState.PENDING,
        subject_kind="node",
        subject_id=node.id,
        subject_name=node.name,
        instance_ids=list(instance_ids),
        created_at=change.now,
        created_by=change.caller.actor,
        deadline=change.now + takes,
    )
    change.operation_id = row.id
    return change.tx.add(row)


async def advance(change: Change, workload_id: str, *, away: frozenset[str]) -> None:
    """Bring the open operations of a workload up to date; `away` are the nodes that cannot be reached."""
    for row in await open_operations(change, workload_id):
        if Kind(row.kind) in CONVERGING:
            continue  # `converging` brings them on
        instances = await change.tx.find(InstanceRow, id=In(tuple(row.instance_ids)))
        watched = [watch(instance, away=away) for instance in instances]
        step = next_step(Kind(row.kind), watched, deadline=row.deadline, now=change.now)
        apply_step(change, row, step)


def watch(instance: InstanceRow, *, away: frozenset[str]) -> Watched:
    """What an operation sees of an instance."""
    placement = instance.placement or {}
    unplaced = placement.get("reason", "") if instance.node_id is None else ""
    return Watched(
        slot=instance.slot,
        node=instance.node_id,
        node_away=instance.node_id in away,
        phase=Phase(instance.phase),
        health=Health(instance.health),
        gone=instance.gone_at is not None,
        reason=instance.reason or unplaced,
        progress=instance.progress or (instance.waits_for if instance.node_id else ""),
        restarts=instance.restarts,
        exit_code=instance.exit_code,
        ended=instance.ended,
        last_log=last_words(instance),
    )


def apply_step(change: Change, row: OperationRow, step: Step) -> None:
    """Write the step if it says anything new; an end is a fact."""
    if (row.state, row.progress, row.percent) == (step.state, step.progress, step.percent):
        return
    ended = change.now if step.state.ended else None
    log = with_line(row.log, change.now, step.progress)
    if ended is not None:
        log = with_line(log, change.now, last_words_of(step.state, step.problem))
    change.tx.update(
        row,
        log=log,
        state=step.state,
        progress=step.progress,
        percent=step.percent,
        result=step.result,
        problem=step.problem,
        ended_at=ended,
    )
    if ended is not None:
        change.operation_id = row.id
        change.fact(
            "operation",
            step.state,
            entity_id=row.id,
            entity_name=row.kind,
            workload_id=row.subject_id if row.subject_kind == "workload" else None,
            project=row.project or "_platform",
            data={"subject": row.subject_id, "problem": step.problem},
        )


def operation_view(row: OperationRow) -> OperationView:
    """The operation as REST answers it."""
    return OperationView.model_validate(row.model_dump())
