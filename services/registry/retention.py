"""Rows that are over and old are dropped, so that tables grow with what there is and not with all there ever was.

The audit trail stays.  What could still be asked for stays too: the newest instance of each slot of a workload that lives, because epochs only
rise, and every revision of it, because it may be gone back to.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from lattice.storage import In, Lt, Not, Transaction
from services.registry.tables import (
    LOCK_ORDER,
    AppRow,
    FactRow,
    IdempotencyRow,
    InstanceRow,
    JobRunRow,
    LinkRow,
    OperationRow,
    RevisionRow,
    RolloutRow,
    RouteRow,
    Row,
    SealedCopyRow,
    SecretRow,
    SecretVersionRow,
    VolumeRow,
    WorkloadRow,
)

KEPT = timedelta(days=30)  # as long as the timeline of a workload is promised
KEYS_KEPT = timedelta(hours=24)
AT_ONCE = 200
_A_FEW = 20  # workloads, each with all that was its own


async def drop_passing(tx: Transaction, now: datetime) -> None:
    """Drop a bounded number of rows of the kinds that each request adds to: facts and remembered answers."""
    for row in [
        *await tx.find(FactRow, created_at=Lt(now - KEPT), published_at=Not(None), limit=AT_ONCE),
        *await tx.find(IdempotencyRow, created_at=Lt(now - KEYS_KEPT), limit=AT_ONCE),
    ]:
        tx.delete(row)


async def drop_old(tx: Transaction, now: datetime) -> None:
    """Drop a bounded number of rows of what is over: operations, instances, volumes, workloads."""
    before = Lt(now - KEPT)
    dropped: list[Row] = [
        *await tx.find(OperationRow, ended_at=before, limit=AT_ONCE),
        *await _old_instances(tx, before),
        *await _old_volumes(tx, before),
        *await _old_workloads(tx, before),
        *await tx.find(AppRow, removed_at=before, limit=AT_ONCE),
        # As long as bookmarks and caches may lead to a public name, nobody else gets it.
        *await tx.find(RouteRow, released_at=before, taken_down="", limit=AT_ONCE),
    ]
    once = {(type(row), row.id): row for row in dropped}  # type: ignore[attr-defined]
    for row in sorted(once.values(), key=_lock_rank):
        tx.delete(row)


def _lock_rank(row: Row) -> int:
    return LOCK_ORDER.index(type(row)) if type(row) in LOCK_ORDER else len(LOCK_ORDER)


async def _old_instances(tx: Transaction, before: Lt) -> list[InstanceRow]:
    gone = await tx.find(InstanceRow, gone_at=before, limit=AT_ONCE)
    workload_ids = tuple({row.workload_id for row in gone})
    if not workload_ids:
        return []
    rows = await tx.find(InstanceRow, workload_id=In(workload_ids))
    return superseded(gone, rows)


def superseded(gone: Iterable[InstanceRow], rows: Iterable[InstanceRow]) -> list[InstanceRow]:
    """Those of `gone` whose slot has had a newer epoch, by all `rows` of their workloads.  Pure."""
    newest: dict[tuple[str, int], int] = {}
    for row in rows:
        slot = (row.workload_id, row.slot)
        newest[slot] = max(newest.get(slot, 0), row.epoch)
    return [row for row in gone if row.epoch < newest[row.workload_id, row.slot]]


async def _old_volumes(tx: Transaction, before: Lt) -> list[Row]:
    volumes = await tx.find(VolumeRow, removed_at=before, limit=AT_ONCE)
    return [*volumes, *await _secrets_of(tx, [row.id for row in volumes])]


async def _old_workloads(tx: Transaction, before: Lt) -> list[Row]:
    """Workloads that were removed, with all that was theirs alone; one of which a container may still exist stays whole."""
    removed = await tx.find(WorkloadRow, removed_at=before, limit=_A_FEW)
    ids = tuple(row.id for row in removed)
    if not ids:
        return []
    held = {row.workload_id for row in await tx.find(InstanceRow, workload_id=In(ids), gone_at=None)}
    over = tuple(each for each in ids if each not in held)
    found: list[Row] = [row for row in removed if row.id in over]
    for table in (InstanceRow, JobRunRow, LinkRow, RevisionRow, RolloutRow):
        found += await tx.find(table, workload_id=In(over))
    return [*found, *await _secrets_of(tx, over)]


async def _secrets_of(tx: Transaction, owners: Iterable[str]) -> list[Row]:
    secrets = await tx.find(SecretRow, owner=In(tuple(owners)))
    ids = In(tuple(row.id for row in secrets))
    return [
        *secrets,
        *await tx.find(SecretVersionRow, secret_id=ids),
        *await tx.find(SealedCopyRow, secret_id=ids),
    ]
