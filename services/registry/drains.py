"""Draining a node: what is still to move, what cannot be moved, and when it is over.

`drain_step` is pure; `advance` applies it.  The moves themselves are made by `converging`, workload by workload.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lattice.contracts.nouns import DesiredState, OperationState
from services.registry import operations
from services.registry.app_places import bound_to
from services.registry.change import Change
from services.registry.node_rows import instances_on, write_node
from services.registry.operations import Kind, Step, in_time
from services.registry.tables import InstanceRow, NodeRow, OperationRow


@dataclass(frozen=True, slots=True, kw_only=True)
class OnNode:
    """An instance that is still on the node; `holds` has a volume there."""

    workload: str
    holds: bool = False
    stopped: bool = False
    leaving: bool = False


def drain_step(there: Sequence[OnNode], *, total: int, deadline: datetime, now: datetime) -> Step:
    """How far a drain is.  Stopped instances are in nobody's way; data stays where it is, so what holds it blocks."""
    moving = [each for each in there if each.leaving or not (each.holds or each.stopped)]
    blockers = sorted({each.workload for each in there if each.holds and not (each.stopped or each.leaving)})
    if moving:
        return in_time(_moving(moving, blockers, total), deadline=deadline, now=now)
    if blockers:
        return _blocked(blockers, total)
    return Step(OperationState.SUCCEEDED, "", 100, result={"moved": total})


def _moving(moving: Sequence[OnNode], blockers: Sequence[str], total: int) -> Step:
    names = ", ".join(sorted({each.workload for each in moving}))
    stays = f"; cannot be moved: {', '.join(blockers)}" if blockers else ""
    left = min(len(moving), total)
    percent = 100 * (total - left) // max(1, total)
    return Step(OperationState.RUNNING, f"{len(moving)} still to move: {names}{stays}", percent)


def _blocked(blockers: Sequence[str], total: int) -> Step:
    names = ", ".join(blockers)
    detail = (
        f"what could be moved has moved; {names} cannot: the data is on this node. The node takes no new work. "
        f"Stop or remove {'it' if len(blockers) == 1 else 'them'}, or take the node back with uncordon"
    )
    problem = {"code": "drain_blocked", "detail": detail}
    return Step(
        OperationState.FAILED, detail, result={"moved": total, "blockers": list(blockers)}, problem=problem
    )


async def begin(change: Change, node: NodeRow, *, takes: timedelta) -> OperationRow:
    """The operation that watches a drain; it has ended already where nothing is to be moved."""
    rows = await instances_on(change.tx, [node.id])
    bound = await bound_to(change.tx, [node.id])
    ids = [row.id for row in rows if not _holds(row, bound) and row.desired == DesiredState.RUNNING]
    operation = await operations.begin_for_node(change, Kind.DRAIN, node, takes=takes, instance_ids=ids)
    _apply(change, operation, rows, bound)
    return operation


async def advance(change: Change, operation_id: str) -> None:
    """Bring a drain up to date."""
    operation = await change.tx.get(OperationRow, operation_id, lock=True)
    if operation is None or operation.ended_at is not None:
        return
    node_ids = [operation.subject_id]
    _apply(change, operation, await instances_on(change.tx, node_ids), await bound_to(change.tx, node_ids))


async def cancel(change: Change, operation: OperationRow) -> None:
    """Move nothing more; the node takes no new work until it is uncordoned."""
    node = await change.tx.get(NodeRow, operation.subject_id, lock=True)
    if node is not None and node.draining:
        write_node(change, node, draining=False)


def _apply(
    change: Change, operation: OperationRow, rows: Sequence[InstanceRow], bound: Collection[str]
) -> None:
    step = drain_step(
        [_on_node(row, bound) for row in rows],
        total=len(operation.instance_ids),
        deadline=operation.deadline,
        now=change.now,
    )
    operations.apply_step(change, operation, step)


def _holds(row: InstanceRow, bound: Collection[str]) -> bool:
    """Whether data of its own or of its app keeps it on the node."""
    return row.has_volume or row.workload_id in bound


def _on_node(row: InstanceRow, bound: Collection[str]) -> OnNode:
    return OnNode(
        workload=row.workload_name,
        holds=_holds(row, bound),
        stopped=row.desired == DesiredState.STOPPED,
        leaving=row.desired == DesiredState.REMOVED,
    )
