"""Brings the instances of a workload to its goal, one change at a time: load, ask `lifecycle` and `rollout`, apply.

Runs under the workload's lock in the change of the command that set the goal, after each report about the workload, and in the sweep; only
for workloads that are not settled.  The operations that wait for the goal are brought on here as well.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from lattice.contracts.nouns import DesiredState, RolloutState, VolumeState
from lattice.storage import In, Transaction
from services.registry import accept, displacing, moving, operations, releasing, routes
from services.registry.change import Change
from services.registry.held_room import is_held
from services.registry.last_exits import newest_words
from services.registry.lifecycle import Moves, converge
from services.registry.operations import CONVERGING, Kind
from services.registry.rollout import Verdict, judge
from services.registry.standing import Standing, way_back
from services.registry.tables import InstanceRow, NodeRow, RolloutRow, VolumeRow, WorkloadRow
from services.registry.workload_rows import (
    bury,
    current_revision,
    lock_instances,
    newest_instances,
    nodes_away,
    tell,
    touch_nodes,
)

# Each look follows from what the one before did: take away, make, turn back, take away.
_AT_MOST = 5


async def bring_on(change: Change, workload: WorkloadRow) -> None:
    """Take the steps that are due.  The caller holds the workload's lock."""
    if workload.settled or workload.desired != DesiredState.RUNNING or workload.removed_at is not None:
        return
    for _ in range(_AT_MOST):
        standing = await _load(change, workload)
        moves = await _move(change, standing)
        if not (await _turn(change, standing, moves) or moves.any):
            break
    if moves.settled:
        await _settle(change, standing)
    await _tell_operations(change, standing, moves)


async def active_rollout(change: Change, workload_id: str) -> RolloutRow | None:
    """The update that is under way, if one is.  Guarded by the lock of its workload."""
    rows = await change.tx.find(RolloutRow, workload_id=workload_id, ended_at=None)
    return rows[0] if rows else None


async def supersede(change: Change, workload: WorkloadRow) -> None:
    """A newer command decides: the update that is under way is no longer watched."""
    rollout = await active_rollout(change, workload.id)
    if rollout is not None:
        change.tx.update(rollout, state=RolloutState.SUPERSEDED, ended_at=change.now)


async def resume(change: Change, workload: WorkloadRow) -> None:
    """What was updated while it was stopped is started: from now on it has its time to become healthy, and goes back where it does not."""
    rollout = await active_rollout(change, workload.id)
    if rollout is not None:
        change.tx.update(rollout, started_at=change.now)


async def cancel(change: Change, workload: WorkloadRow) -> None:
    """End an update: the earlier revision is the goal again, and is watched until it serves."""
    rollout = await active_rollout(change, workload.id)
    if rollout is None or rollout.state == RolloutState.ROLLING_BACK:
        return
    reason = f"cancelled by {change.caller.actor}"
    if await go_back(change, workload):
        change.tx.update(rollout, state=RolloutState.ROLLING_BACK, reason=reason)
        await bring_on(change, workload)
    else:
        change.tx.update(rollout, state=RolloutState.SUPERSEDED, reason=reason, ended_at=change.now)


async def go_back(change: Change, workload: WorkloadRow) -> bool:
    """Give an update up that is under way: the earlier revision is the goal again, what is new is ordered gone.  False without one, or
    where no earlier revision has worked."""
    rollout = await active_rollout(change, workload.id)
    if rollout is None:
        return False
    instances = await lock_instances(change, workload.id)
    number = way_back(rollout, instances, await nodes_away(change.tx))
    if number is None:
        return False
    await bury(
        change,
        [
            row
            for row in instances
            if row.revision == rollout.to_revision and row.desired != DesiredState.REMOVED
        ],
    )
    _head_back(change, workload, rollout, number)
    return True


def _head_back(change: Change, workload: WorkloadRow, rollout: RolloutRow, number: int) -> None:
    change.tx.update(rollout, from_revision=number)
    change.tx.update(workload, revision=number, generation=workload.generation + 1)


async def _load(change: Change, workload: WorkloadRow) -> Standing:
    await change.tx.flush()
    instances = await lock_instances(change, workload.id)
    return Standing(
        workload,
        await current_revision(change.tx, workload),
        instances,
        await active_rollout(change, workload.id),
        await nodes_away(change.tx),
        await displacing.see(change.tx, instances, app_id=workload.app_id),
        await _seen_until(change.tx, instances),
        change.now,
    )


async def _seen_until(tx: Transaction, instances: Sequence[InstanceRow]) -> dict[str, datetime]:
    """Of the nodes where something has yet to prove itself: up to when they were seen."""
    watched = {row.node_id for row in instances if row.node_id and row.ready_since and not row.proven}
    nodes = await tx.find(NodeRow, id=In(tuple(watched))) if watched else []
    return {node.id: node.observed_at for node in nodes if node.observed_at is not None}


async def _move(change: Change, standing: Standing) -> Moves:
    """Make and take away what is due now."""
    moves = converge(standing.goal, standing.replicas)
    for row in standing.newly_proven:
        change.tx.update(row, proven=True)
    moving.give_up(change, standing)
    if moves.retire:
        retired = [row for row in standing.instances if row.id in moves.retire]
        for row in retired:
            moving.say_displaced(change, row, standing.displaced[row.id])
        await bury(change, retired)
    if moves.create_slots:
        before = await newest_instances(change.tx, standing.workload)
        # From now on the room beside their data is theirs to take: the scheduler has to see it.
        ended = [before[slot] for slot in moves.create_slots if slot in before]
        await touch_nodes(change, [row for row in ended if is_held(row, change.now)])
        fresh = accept.new_instances(
            change, standing.workload, standing.revision, slots=moves.create_slots, before=before
        )
        moving.send_elsewhere(change, standing, fresh, before)
        change.wake_scheduler(standing.workload.id)
        await change.tx.flush()
        await releasing.look(change, standing.workload)
    return moves


def _judge(standing: Standing, moves: Moves) -> Verdict | None:
    rollout = standing.rollout
    if rollout is None:
        return None
    return judge(
        RolloutState(rollout.state),
        standing.spec.update,
        standing.newcomers,
        has_way_back=standing.way_back is not None,
        settled=moves.settled,
        now=standing.now,
    )


async def _turn(change: Change, standing: Standing, moves: Moves) -> bool:
    """Write what has become of the update; True where that sets another goal: on the way back it is the earlier revision, at once."""
    rollout, verdict = standing.rollout, _judge(standing, moves)
    if rollout is None or verdict is None or verdict.state == rollout.state:
        return False
    ended = change.now if verdict.state.ended else None
    change.tx.update(rollout, state=verdict.state, reason=verdict.reason or rollout.reason, ended_at=ended)
    number = standing.way_back if verdict.state is RolloutState.ROLLING_BACK else None
    if number is not None:
        _head_back(change, standing.workload, rollout, number)
    _tell(change, standing.workload, rollout, verdict.state)
    return number is not None


def _tell(change: Change, workload: WorkloadRow, rollout: RolloutRow, state: RolloutState) -> None:
    change.operation_id = rollout.operation_id
    tell(
        change,
        workload,
        f"update_{state}",
        {"from": rollout.from_revision, "to": rollout.to_revision, "reason": rollout.reason},
    )


async def _settle(change: Change, standing: Standing) -> None:
    """All is as wanted: this revision is one that works, if anything of it runs, and volumes that it does not use are free."""
    workload, used = standing.workload, {volume.volume_id for volume in standing.run.volumes}
    has_worked = workload.replicas > 0
    stable = workload.revision if has_worked else workload.stable_revision
    change.tx.update(workload, settled=True, stable_revision=stable)
    await routes.claim(change, workload, standing.revision)
    if has_worked:  # else the way back may need its data
        await _release_volumes(change, workload, used)


async def _release_volumes(change: Change, workload: WorkloadRow, used: Collection[str]) -> None:
    for volume in await change.tx.find(VolumeRow, workload_id=workload.id, removed_at=None, lock=True):
        if volume.id not in used:
            change.tx.update(volume, workload_id=None, state=VolumeState.RELEASED)
            change.fact(
                "volume", "released", entity_id=volume.id, entity_name=volume.name, project=volume.project
            )


async def _tell_operations(change: Change, standing: Standing, moves: Moves) -> None:
    words = await _last_words(change, standing.rollout)
    for row in await operations.open_operations(change, standing.workload.id):
        if Kind(row.kind) in CONVERGING:
            step = operations.convergence_step(
                replace(standing.outcome(moves), last_log=words),
                ready=moves.ready,
                replicas=standing.workload.replicas,
                deadline=row.deadline,
                now=change.now,
            )
            operations.apply_step(change, row, step)


async def _last_words(change: Change, rollout: RolloutRow | None) -> tuple[str, ...]:
    """What an update that did not last printed at its end; its instances may be gone already."""
    if rollout is None or rollout.state not in (RolloutState.ROLLED_BACK, RolloutState.FAILED):
        return ()
    return newest_words(
        await change.tx.find(InstanceRow, workload_id=rollout.workload_id, revision=rollout.to_revision)
    )
