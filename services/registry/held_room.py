"""Room that is kept beside data: between the end of an instance with a volume and its successor nobody else is to take it.

The successor can go nowhere else, and it is made a moment after its predecessor is known to be gone.  Without this, an update of a database on a
node that is nearly full could give its room away to whoever waits, and leave it without any place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from lattice.contracts.nouns import DesiredState
from lattice.storage import Gt, In, Transaction
from services.registry.tables import InstanceRow, WorkloadRow

# The next look at the workload makes the successor, at the latest a sweep of all: some ten seconds. Beyond this nobody means to.
HELD_FOR = timedelta(seconds=60)


async def held(tx: Transaction, node_ids: Collection[str], now: datetime) -> list[InstanceRow]:
    """The instances that are gone from these nodes and whose room is kept."""
    gone = await tx.find(InstanceRow, has_volume=True, gone_at=Gt(now - HELD_FOR))
    gone = [row for row in gone if row.node_id in node_ids]
    if not gone:
        return []
    ids = In(tuple({row.workload_id for row in gone}))
    wanted = await tx.find(WorkloadRow, id=ids, desired=DesiredState.RUNNING, removed_at=None)
    return awaited(gone, await tx.find(InstanceRow, workload_id=ids), wanted)


async def no_more_held(tx: Transaction, now: datetime) -> list[InstanceRow]:
    """Those whose room is not kept any longer, which no other change of their node tells the scheduler."""
    gone = await tx.find(InstanceRow, has_volume=True, gone_at=Gt(now - 2 * HELD_FOR))
    return [row for row in gone if row.gone_at is not None and row.gone_at <= now - HELD_FOR]


def awaited(
    gone: Iterable[InstanceRow], rows: Iterable[InstanceRow], wanted: Iterable[WorkloadRow]
) -> list[InstanceRow]:
    """Those of `gone` that are to have a successor and have none yet, by all `rows` of their workloads.  Pure."""
    replicas = {workload.id: workload.replicas for workload in wanted}
    newest: dict[tuple[str, int], int] = {}
    for row in rows:
        slot = (row.workload_id, row.slot)
        newest[slot] = max(newest.get(slot, 0), row.epoch)
    return [
        row
        for row in gone
        if row.slot < replicas.get(row.workload_id, 0) and row.epoch == newest[(row.workload_id, row.slot)]
    ]
