"""Draining a node: what is still to move, what cannot be moved, and when it is over.

`drain_step` is pure; `advance` applies it.  The moves themselves are made by `converging`, workload by workload.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lattice.contracts.nouns import DesiredState, OperationState
from lattice.storage import In, Transaction
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
    waits_for: str = ""

    @property
    def why(self) -> str:
        """Why it is still there; empty for what is in nobody's way, or about to go."""
        if self.stopped or self.leaving:
            return ""
        return "its data is on this node" if self.holds else self.waits_for


def drain_step(there: Sequence[OnNode], *, total: int, deadline: datetime, now: datetime) -> Step:
    """How far a drain is.  Stopped instances are in nobody's way; data stays where it is, so what holds it blocks."""
    moving = [each for each in there if each.leaving or not (each.holds or each.stopped)]
    blockers = sorted({each.workload for each in there if each.holds and not (each.stopped or each.leaving)})
    if moving:
        return in_time(_moving(there, moving, total), deadline=deadline, now=now)
    if blockers:
        return _blocked(there, blockers, total)
    return Step(OperationState.SUCCEEDED, "", 100, result={"moved": total})


def blockers_of(there: Sequence[OnNode]) -> dict[str, str]:
    """workload -> why it is still there, where something keeps it."""
    return {each.workload: each.why for each in sorted(there, key=lambda each: each.workload) if each.why}


def _moving(there: Sequence[OnNode], moving: Sequence[OnNode], total: int) -> Step:
    blockers = blockers_of(there)
    names = ", ".join(_named(name, blockers) for name in sorted({each.workload for each in moving}))
    held = sorted({each.workload for each in there if each.holds and each.why})
    stays = f"; cannot be moved: {', '.join(_named(name, blockers) for name in held)}" if held else ""
    left = min(len(moving), total)
    percent = 100 * (total - left) // max(1, total)
    progress = f"{len(moving)} still to move: {names}{stays}"
    return Step(
        OperationState.RUNNING, progress, percent, result={"blockers": blockers} if blockers else None
    )


def _named(workload: str, blockers: Mapping[str, str]) -> str:
    return f"{workload} ({blockers[workload]})" if workload in blockers else workload


def _blocked(there: Sequence[OnNode], blockers: Sequence[str], total: int) -> Step:
    names = ", ".join(blockers)
    detail = (
        f"what could be moved has moved; {names} cannot: the data is on this node. The node takes no new work. "
        f"Stop or remove {'it' if len(blockers) == 1 else 'them'}, or take the node back with uncordon"
    )
    problem = {"code": "drain_blocked", "detail": detail}
    return Step(
        OperationState.FAILED,
        detail,
        result={"moved": total, "blockers": blockers_of(there)},
        problem=problem,
    )


async def begin(change: Change, node: NodeRow, *, takes: timedelta) -> OperationRow:
    """The operation that watches a drain; it has ended already where nothing is to be moved."""
    rows = await instances_on(change.tx, [node.id])
    bound = await bound_to(change.tx, [node.id])
    ids = [row.id for row in rows if not _holds(row, bound) and row.desired == DesiredState.RUNNING]
    operation = await operations.begin_for_node(change, Kind.DRAIN, node, takes=takes, instance_ids=ids)
    _apply(change, operation, await _seen(change.tx, rows, bound))
    return operation


async def advance(change: Change, operation_id: str) -> None:
    """Bring a drain up to date."""
    operation = await change.tx.get(OperationRow, operation_id, lock=True)
    if operation is None or operation.ended_at is not None:
        return
    _apply(change, operation, await left_on(change.tx, operation.subject_id))


async def left_on(tx: Transaction, node_id: str) -> list[OnNode]:
    """What is still on a node, and why it does not go."""
    return await _seen(tx, await instances_on(tx, [node_id]), await bound_to(tx, [node_id]))


async def _seen(tx: Transaction, rows: Sequence[InstanceRow], bound: Collection[str]) -> list[OnNode]:
    """Work leaves when another instance serves elsewhere: what keeps that one is the reason."""
    ids = tuple(sorted({row.workload_id for row in rows if not row.has_volume}))
    others = await tx.find(InstanceRow, workload_id=In(ids), gone_at=None, desired=DesiredState.RUNNING)
    here = {row.id for row in rows}
    waiting = {
        row.workload_id: _waits_for(row) for row in others if row.id not in here and row.ready_since is None
    }
    return [_on_node(row, bound, waiting.get(row.workload_id, "")) for row in rows]


def _waits_for(row: InstanceRow) -> str:
    """What keeps the instance that is to take over."""
    if row.node_id is None:
        return str(
            (row.placement or {}).get("reason") or "the scheduler has not looked for another place yet"
        )
    return row.progress or row.reason or f"its replacement is {row.phase}"


async def cancel(change: Change, operation: OperationRow) -> None:
    """Move nothing more; the node takes no new work until it is uncordoned."""
    node = await change.tx.get(NodeRow, operation.subject_id, lock=True)
    if node is not None and node.draining:
        write_node(change, node, draining=False)


def _apply(change: Change, operation: OperationRow, there: Sequence[OnNode]) -> None:
    step = drain_step(
        there,
        total=len(operation.instance_ids),
        deadline=operation.deadline,
        now=change.now,
    )
    operations.apply_step(change, operation, step)


def _holds(row: InstanceRow, bound: Collection[str]) -> bool:
    """Whether data of its own or of its app keeps it on the node."""
    return row.has_volume or row.workload_id in bound


def _on_node(row: InstanceRow, bound: Collection[str], waits_for: str) -> OnNode:
    return OnNode(
        waits_for=waits_for,
        workload=row.workload_name,
        holds=_holds(row, bound),
        stopped=row.desired == DesiredState.STOPPED,
        leaving=row.desired == DesiredState.REMOVED,
    )
