"""Writes down why instances leave their node: what is given up where it keeps failing, and what its replacement has to know of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lattice.contracts.nouns import DesiredState
from services.registry.change import Change
from services.registry.displacement import Displaced, Displacement
from services.registry.displacing import failing_of
from services.registry.last_exits import inherited_exit
from services.registry.rescheduling import in_vain
from services.registry.standing import Standing
from services.registry.tables import InstanceRow

# A replacement avoids so many nodes at most, and surely the last ones.
MOST_AVOIDED = 16


def give_up(change: Change, standing: Standing) -> None:
    """Mark what is to be tried elsewhere; one that has recovered before another served is kept."""
    for row in standing.instances:
        why = standing.displaced[row.id]
        gives_up = why.how is Displacement.FAILING
        if gives_up and not row.given_up:
            change.tx.update(row, given_up=why.reason)
        elif row.given_up and row.desired == DesiredState.RUNNING and row.failing_since is None:
            change.tx.update(row, given_up="")


def send_elsewhere(
    change: Change,
    standing: Standing,
    fresh: Sequence[InstanceRow],
    before: Mapping[int, InstanceRow],
) -> None:
    """Tell new instances which one they replace because it kept failing: where that was, and how often it was in vain."""
    given_up = [row for row in standing.instances if row.given_up and row.desired == DesiredState.RUNNING]
    for row in fresh:
        former = given_up.pop(0) if given_up else None
        slot_before = before.get(row.slot)
        chain = [each for each in (former, slot_before) if each is not None and each.given_up]
        if chain:
            _replace(change, standing, row, chain)


def _replace(change: Change, standing: Standing, row: InstanceRow, chain: Sequence[InstanceRow]) -> None:
    former, after_s = chain[0], standing.spec.restart.reschedule_after or 0.0
    failed_on = [(each.node_id, each.given_up) for each in chain if each.node_id]
    earlier = [item for each in chain for item in each.avoid.items()]
    avoid = dict(reversed((failed_on + earlier)[:MOST_AVOIDED]))
    change.tx.update(
        row,
        moves=max(_moves(each, after_s) for each in chain) + 1,
        avoid=avoid,
        last_exit=inherited_exit(former),
    )
    what = {"instance": former.id, "node": former.node_id, "slot": row.slot, "moves": row.moves}
    _tell(change, row, "rescheduled", cause=former.given_up, data=what)


def _moves(row: InstanceRow, after_s: float) -> int:
    return in_vain(failing_of(row, ""), after_s) if row.failing_since is not None else row.moves


def say_displaced(change: Change, row: InstanceRow, why: Displaced) -> None:
    """Say why an instance leaves its node, if it has to."""
    if why.how is Displacement.NONE:
        return
    what = {"node": row.node_id, "slot": row.slot, "epoch": row.epoch, "how": why.how}
    _tell(change, row, "displaced", cause=why.reason, data=what)


def _tell(change: Change, row: InstanceRow, verb: str, *, cause: str, data: dict[str, Any]) -> None:
    change.fact(
        "instance",
        verb,
        entity_id=row.id,
        entity_name=row.workload_name,
        workload_id=row.workload_id,
        project=row.project,
        cause=cause,
        data=data,
    )
