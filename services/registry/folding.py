"""What a node reports becomes what the registry knows: one observed document is folded into the rows of its instances.

`fold` is pure and speaks of one instance.  Only instances placed on the reporting node are touched; what the document does not mention
is left as it is, except that a tombstone ends when a complete report on its generation (or a newer one) no longer shows the container.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lattice.contracts.messages import ObservedDocument
from lattice.contracts.nouns import ContainerKey, DesiredState, Health, ObservedContainer, Phase
from lattice.contracts.states import furthest, is_ready, serves
from lattice.storage import In
from services.registry import metrics
from services.registry.change import Change
from services.registry.deploy_steps import steps_reached
from services.registry.job_runs import fold_runs
from services.registry.node_rows import other_sight
from services.registry.tables import InstanceRow, NodeRow, VolumeRow, WorkloadRow


@dataclass(frozen=True, slots=True)
class Folded:
    """The columns of an instance that change, what happened to it, in words of the facts, and the steps of its deploy that it took."""

    changes: dict[str, Any]
    verbs: tuple[str, ...]
    steps: tuple[str, ...] = ()


def fold(row: InstanceRow, seen: ObservedContainer, now: datetime) -> Folded:
    """What a report changes about one instance."""
    phase = furthest(Phase(row.phase), seen.phase, desired=DesiredState(row.desired))
    reported = {
        "phase": phase,
        "health": seen.health,
        **_since(row, seen, now, serves=serves(phase, seen.health, ended=seen.ended)),
        "reason": seen.reason,
        "progress": seen.progress,
        "container_id": seen.container_id,
        "image_id": seen.image_id,
        "ports": [port.model_dump(mode="json") for port in seen.ports],
        "last_log": list(seen.last_log),
        "started_at": seen.started_at,
        "finished_at": seen.finished_at,
        "exit_code": seen.exit_code,
        "oom_killed": seen.oom_killed,
        "last_exit": seen.last_exit.model_dump(mode="json") if seen.last_exit else row.last_exit,
        "ended": seen.ended,
        "failing_since": seen.failing_since,
        "restarts": max(row.restarts, seen.restarts),
    }
    changes = {name: value for name, value in reported.items() if getattr(row, name) != value}
    steps = steps_reached(Phase(row.phase), Health(row.health), phase, seen.health, restarts=seen.restarts)
    return Folded(changes, tuple(_verbs(row, phase, seen)), tuple(steps))


def _since(
    row: InstanceRow, seen: ObservedContainer, now: datetime, *, serves: bool
) -> dict[str, datetime | None]:
    """Since when it serves or does not; a restart begins anew, also one that was over before anybody heard of it."""
    if not serves:
        return {"ready_since": None, "unready_since": row.unready_since or now}
    began_anew = seen.restarts > row.restarts
    return {"ready_since": now if began_anew else row.ready_since or now, "unready_since": None}


def _verbs(row: InstanceRow, phase: Phase, seen: ObservedContainer) -> list[str]:
    verbs = []
    was_ready, now_ready = is_ready(Phase(row.phase), Health(row.health)), is_ready(phase, seen.health)
    if now_ready and not was_ready:
        verbs.append("ready")
    if was_ready and seen.health is Health.UNHEALTHY:
        verbs.append("unhealthy")
    if phase is Phase.FAILED and row.phase != Phase.FAILED:
        verbs.append("failed")
    if seen.oom_killed and not row.oom_killed:
        verbs.append("oom_killed")
    if seen.restarts > row.restarts:
        verbs.append("restarted")
    if phase is Phase.STOPPED and row.phase != Phase.STOPPED:
        verbs.append("stopped")
    return verbs


def is_proven_gone(row: InstanceRow, document: ObservedDocument, shown: frozenset[ContainerKey]) -> bool:
    """Whether this report proves that a container that was ordered gone is gone."""
    ordered = row.desired == DesiredState.REMOVED and row.tombstone_generation is not None
    return (
        ordered
        and document.complete
        and document.generation >= (row.tombstone_generation or 0)
        and ContainerKey(workload_id=row.workload_id, slot=row.slot, epoch=row.epoch) not in shown
    )


async def fold_document(change: Change, node: NodeRow, document: ObservedDocument) -> list[str]:
    """Fold a report that is newer than all before it into the instances on its node; returns the workloads of which it says anything new."""
    rows = await change.tx.find(InstanceRow, node_id=node.id, gone_at=None, lock=True)
    seen = {container.key: container for container in document.containers}
    shown = frozenset(seen)
    touched, watched = set[str](), set[str]()
    for row in rows:
        key = ContainerKey(workload_id=row.workload_id, slot=row.slot, epoch=row.epoch)
        if key in seen and _apply(change, row, fold(row, seen[key], change.now), node):
            touched.add(row.workload_id)
        elif document.complete and not row.proven and row.ready_since is not None:
            watched.add(row.workload_id)
        if is_proven_gone(row, document, shown):
            _end(change, node, row)
            touched.add(row.workload_id)
    await fold_runs(change, node, document)
    await _end_volumes(change, node, document)
    return sorted(touched | await _unsettled(change, watched - touched))


async def _unsettled(change: Change, watched: Collection[str]) -> set[str]:
    """The workloads to which it is news that something of them still serves: they wait for it to have served for a while."""
    if not watched:
        return set()
    ids = In(tuple(sorted(watched)))
    rows = await change.tx.find(WorkloadRow, id=ids, settled=False, desired=DesiredState.RUNNING)
    return {row.id for row in rows}


def _apply(change: Change, row: InstanceRow, folded: Folded, node: NodeRow) -> bool:
    if not folded.changes:
        return False
    change.tx.update(row, **folded.changes)
    metrics.reached(row, folded.steps, change.now)
    for verb in folded.verbs:
        change.fact(
            "instance",
            verb,
            entity_id=row.id,
            entity_name=row.workload_name,
            workload_id=row.workload_id,
            project=row.project,
            cause=_cause(row, verb),
            data=_about(row, node),
        )
    return True


def _cause(row: InstanceRow, verb: str) -> str:
    """Why it happened, for the timeline: a restart is told by how the run before it ended."""
    if verb in ("restarted", "oom_killed"):
        return str((row.last_exit or {}).get("reason") or row.reason)
    return row.reason if verb in ("failed", "unhealthy", "stopped") else ""


def _about(row: InstanceRow, node: NodeRow) -> dict[str, Any]:
    last = row.last_exit or {}
    return {
        "node": node.id,
        "workload_id": row.workload_id,
        "slot": row.slot,
        "epoch": row.epoch,
        "reason": row.reason,
        "restarts": row.restarts,
        "exit_code": last.get("exit_code") if row.exit_code is None else row.exit_code,
        "signal": last.get("signal", ""),
        "oom_killed": row.oom_killed or last.get("oom_killed", False),
    }


def _end(change: Change, node: NodeRow, row: InstanceRow) -> None:
    change.tx.update(row, gone_at=change.now, phase=Phase.STOPPED, progress="")
    # The tombstone leaves the node's document, and its room is free.
    change.tx.update(node, document_dirty=True, **other_sight(change, node))
    change.fact(
        "instance",
        "removed",
        entity_id=row.id,
        entity_name=row.workload_name,
        workload_id=row.workload_id,
        project=row.project,
        data={"node_id": node.id, "workload_id": row.workload_id, "slot": row.slot, "epoch": row.epoch},
    )


async def _end_volumes(change: Change, node: NodeRow, document: ObservedDocument) -> None:
    """A volume whose removal was ordered is gone when a complete report no longer lists it."""
    if not document.complete or node.document is None or document.generation < node.generation:
        return
    ordered = set(node.document.get("remove_volumes", []))
    gone = sorted(ordered - set(document.volumes))
    for volume_id in gone:
        volume = await change.tx.get(VolumeRow, volume_id, lock=True)
        if volume is not None and volume.removing and volume.removed_at is None:
            change.tx.update(volume, removed_at=change.now)
            change.tx.update(node, document_dirty=True)
            change.fact(
                "volume", "removed", entity_id=volume.id, entity_name=volume.name, project=volume.project
            )
