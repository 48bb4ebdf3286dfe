"""Where apps are: the services of one run on one node, because there they reach each other."""

from __future__ import annotations

from collections.abc import Collection

from lattice.contracts.nouns import DesiredState
from lattice.storage import In, Not, Transaction
from services.registry.app_homes import Stand, home_of
from services.registry.tables import InstanceRow, NodeRow, VolumeRow, WorkloadRow


async def with_mates(tx: Transaction, workload_ids: Collection[str]) -> set[str]:
    """These workloads and those of the same apps: they are placed in one decision."""
    rows = await tx.find(WorkloadRow, id=In(tuple(workload_ids)), app_id=Not(None)) if workload_ids else []
    apps = tuple({row.app_id for row in rows})
    mates = await tx.find(WorkloadRow, app_id=In(apps), removed_at=None) if apps else []
    return set(workload_ids) | {row.id for row in mates}


async def homes_of(tx: Transaction, app_ids: Collection[str]) -> dict[str, str]:
    """app id -> the node where all of it has to be; none where it is free.  Instances that have to leave their node do not count."""
    workloads = await tx.find(WorkloadRow, app_id=In(tuple(app_ids)), removed_at=None) if app_ids else []
    if not workloads:
        return {}
    app_of = {row.id: row.app_id or "" for row in workloads}
    stands: dict[str, list[Stand]] = {}
    for workload_id, stand in await _stands(tx, tuple(app_of)):
        stands.setdefault(app_of[workload_id], []).append(stand)
    homes = {app: home_of(there) for app, there in stands.items()}
    return {app: home for app, home in homes.items() if home is not None}


async def bound_to(tx: Transaction, node_ids: Collection[str]) -> set[str]:
    """The workloads that stay on these nodes because data of their app is there."""
    if not node_ids:
        return set()
    volumes = await tx.find(VolumeRow, node_id=In(tuple(node_ids)), workload_id=Not(None), removed_at=None)
    holders = {row.workload_id or "" for row in volumes}
    return await with_mates(tx, holders)


async def apart(tx: Transaction) -> list[str]:
    """The workloads of apps that are on more than one node."""
    workloads = await tx.find(WorkloadRow, app_id=Not(None), removed_at=None)
    app_of = {row.id: row.app_id for row in workloads}
    if not app_of:
        return []
    rows = await tx.find(
        InstanceRow, workload_id=In(tuple(app_of)), node_id=Not(None), gone_at=None, desired=DesiredState.RUNNING
    )  # fmt: skip
    nodes: dict[str | None, set[str | None]] = {}
    for row in rows:
        nodes.setdefault(app_of[row.workload_id], set()).add(row.node_id)
    return sorted(row.workload_id for row in rows if len(nodes[app_of[row.workload_id]]) > 1)


async def _stands(tx: Transaction, workload_ids: tuple[str, ...]) -> list[tuple[str, Stand]]:
    """(workload id, where a part of it is)."""
    volumes = await tx.find(VolumeRow, workload_id=In(workload_ids), node_id=Not(None), removed_at=None)
    rows = await tx.find(InstanceRow, workload_id=In(workload_ids), node_id=Not(None), gone_at=None)
    left = await _left(tx, {row.node_id or "" for row in rows})
    data = [
        (row.workload_id or "", Stand(id=row.id, node_id=row.node_id or "", data=True)) for row in volumes
    ]
    present = [
        (row.workload_id, Stand(id=row.id, node_id=row.node_id or ""))
        for row in rows
        if row.desired != DesiredState.REMOVED and row.node_id not in left
    ]
    return data + present


async def _left(tx: Transaction, node_ids: Collection[str]) -> set[str]:
    """Those of these nodes that are lost or drained."""
    rows = await tx.find(NodeRow, id=In(tuple(node_ids))) if node_ids else []
    return {row.id for row in rows if row.draining or row.lost_since is not None}
