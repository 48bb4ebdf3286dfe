"""Room that is kept beside data: between the end of an instance with a volume and its successor nobody else is to take it.

The successor can go nowhere else, and it is made a moment after its predecessor is known to be gone.  Without this, an update of a database on a
node that is nearly full could give its room away to whoever waits, and leave it without any place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from lattice.contracts.nouns import DesiredState
from lattice.storage import Gt, In, Transaction
from services.registry.tables import InstanceRow, WorkloadRow

# The next look at the workload makes the successor, at the latest a sweep of all: some ten seconds. Beyond this nobody means to.
HELD_FOR = timedelta(seconds=60)
# The sweep of all, which tells the scheduler that it is over, comes at least twice in this time.
TOLD_FOR = timedelta(seconds=30)


async def held(tx: Transaction, node_ids: Collection[str], now: datetime) -> list[InstanceRow]:
    """The instances that are gone from these nodes and whose room is kept."""
    gone = await tx.find(InstanceRow, has_volume=True, gone_at=Gt(now - HELD_FOR))
    return await _awaited(tx, [row for row in gone if row.node_id in node_ids])


async def no_more_held(tx: Transaction, now: datetime) -> list[InstanceRow]:
    """Those whose room is not kept any longer, which no other change of their node tells the scheduler."""
    gone = await tx.find(InstanceRow, has_volume=True, gone_at=Gt(now - HELD_FOR - TOLD_FOR))
    return await _awaited(tx, [row for row in gone if not is_held(row, now)])


def is_held(row: InstanceRow, now: datetime) -> bool:
    """Whether the room of this instance is kept, if it is to have a successor."""
    return row.has_volume and row.gone_at is not None and row.gone_at > now - HELD_FOR


async def _awaited(tx: Transaction, gone: Sequence[InstanceRow]) -> list[InstanceRow]:
    if not gone:
        return []
    ids = In(tuple({row.workload_id for row in gone}))
    wanted = await tx.find(WorkloadRow, id=ids, desired=DesiredState.RUNNING, removed_at=None)
    return awaited(gone, await tx.find(InstanceRow, workload_id=ids), wanted)


def awaited(
    gone: Iterable[InstanceRow], rows: Sequence[InstanceRow], wanted: Iterable[WorkloadRow]
) -> list[InstanceRow]:
    """Those of `gone` that are to have a successor and have none yet, by all `rows` of their workloads.  Pure.

    A successor may have another slot, so no more are held than the workload lacks.
    """
    ended, found = list(gone), list[InstanceRow]()
    for workload in wanted:
        mine = [row for row in rows if row.workload_id == workload.id]
        there = sum(row.gone_at is None and row.desired == DesiredState.RUNNING for row in mine)
        newest: dict[int, int] = {}
        for row in mine:
            newest[row.slot] = max(newest.get(row.slot, 0), row.epoch)
        last = [row for row in ended if row.workload_id == workload.id and row.epoch == newest.get(row.slot)]
        found += last[: max(0, workload.replicas - there)]
    return found
