"""What several requests do with the rows of a workload: find it, read its revision, order its containers gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lattice.contracts.nouns import DesiredState, Liveness, Phase
from lattice.errors import NotFound
from lattice.storage import In, Transaction
from services.registry.change import Change
from services.registry.node_rows import other_sight
from services.registry.tables import InstanceRow, NodeRow, RevisionRow, WorkloadRow


async def find_workload(tx: Transaction, project: str, ref: str, *, lock: bool = False) -> WorkloadRow:
    """The workload with this id or name; removed ones are not found."""
    rows = await tx.find(WorkloadRow, project=project, name=ref, removed_at=None, lock=lock)
    if not rows:
        rows = await tx.find(WorkloadRow, project=project, id=ref, removed_at=None, lock=lock)
    if not rows:
        raise NotFound(f"there is no workload {ref!r} in project {project}; `lattice ps` shows all")
    return rows[0]


async def current_revision(tx: Transaction, workload: WorkloadRow) -> RevisionRow:
    """The revision that the workload runs."""
    revision = await tx.get(RevisionRow, f"{workload.id}-{workload.revision}")
    if revision is None:
        raise NotFound(f"revision {workload.revision} of workload {workload.name} is gone")
    return revision


async def lock_instances(change: Change, workload_id: str) -> list[InstanceRow]:
    """The instances of a workload that are not gone, locked; their nodes first, as reports have them."""
    seen = await change.tx.find(InstanceRow, workload_id=workload_id, gone_at=None)
    nodes = sorted({row.node_id for row in seen if row.node_id})
    if nodes:
        await change.tx.find(NodeRow, id=In(tuple(nodes)), lock=True)
    return await change.tx.find(InstanceRow, workload_id=workload_id, gone_at=None, lock=True)


async def newest_instances(tx: Transaction, workload: WorkloadRow) -> dict[int, InstanceRow]:
    """slot -> the newest instance that it ever had."""
    rows = await tx.find(InstanceRow, workload_id=workload.id, order_by=("epoch",))
    return {row.slot: row for row in rows}


def tell(change: Change, workload: WorkloadRow, verb: str, data: Mapping[str, Any] | None = None) -> None:
    """Say what happened to a workload."""
    change.fact(
        "workload",
        verb,
        entity_id=workload.id,
        entity_name=workload.name,
        workload_id=workload.id,
        project=workload.project,
        data=data,
    )


def is_untold(instance: InstanceRow) -> bool:
    """Whether no node knows of it: it has no place yet, or waits for another workload."""
    return instance.node_id is None or instance.waits_on is not None


async def bury(change: Change, instances: list[InstanceRow]) -> None:
    """Order these containers gone.  What no node was told of is gone at once; the others get a tombstone."""
    for instance in instances:
        gone = change.now if is_untold(instance) else None
        phase = Phase.STOPPED if gone else instance.phase
        change.tx.update(instance, desired=DesiredState.REMOVED, gone_at=gone, phase=phase)
    await touch_nodes(change, instances)


async def touch_nodes(change: Change, instances: list[InstanceRow]) -> None:
    """Render the documents of these instances' nodes again; rooms that they leave are rooms for others."""
    for node_id in sorted({instance.node_id for instance in instances if instance.node_id}):
        node = await change.tx.get(NodeRow, node_id, lock=True)
        if node is not None:
            change.tx.update(node, document_dirty=True, **other_sight(change, node))


async def nodes_away(tx: Transaction) -> frozenset[str]:
    """The nodes that cannot be reached."""
    rows = await tx.find(NodeRow, liveness=Liveness.UNREACHABLE, removed_at=None)
    return frozenset(row.id for row in rows)
