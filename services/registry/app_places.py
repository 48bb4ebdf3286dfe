"""Where apps are: the services of one run on one node, because there they reach each other."""

from __future__ import annotations

from collections.abc import Collection

from lattice.contracts.nouns import DesiredState
from lattice.storage import In, Not, Transaction
from services.registry.tables import InstanceRow, NodeRow, VolumeRow, WorkloadRow


async def with_mates(tx: Transaction, workload_ids: Collection[str]) -> set[str]:
    """These workloads and those of the same apps: they are placed in one decision."""
    rows = await tx.find(WorkloadRow, id=In(tuple(workload_ids)), app_id=Not(None))
    apps = tuple({row.app_id for row in rows})
    mates = await tx.find(WorkloadRow, app_id=In(apps), removed_at=None) if apps else []
    return set(workload_ids) | {row.id for row in mates}


async def places_of(tx: Transaction, app_ids: Collection[str]) -> dict[str, frozenset[str]]:
    """app id -> the nodes where it has to run: that of its data, else that of its instances; none where it is still free.

    Instances that have to leave their node do not count.
    """
    workloads = await tx.find(WorkloadRow, app_id=In(tuple(app_ids)), removed_at=None) if app_ids else []
    if not workloads:
        return {}
    app_of = {row.id: row.app_id or "" for row in workloads}
    volumes = await tx.find(VolumeRow, workload_id=In(tuple(app_of)), node_id=Not(None), removed_at=None)
    instances = await tx.find(InstanceRow, workload_id=In(tuple(app_of)), node_id=Not(None), gone_at=None)
    left = await _left(tx, {row.node_id or "" for row in instances})
    data = [(app_of[row.workload_id or ""], row.node_id or "") for row in volumes]
    present = [
        (app_of[row.workload_id], row.node_id or "")
        for row in instances
        if row.desired != DesiredState.REMOVED and row.node_id not in left
    ]
    return _by_app(present) | _by_app(data)


async def _left(tx: Transaction, node_ids: Collection[str]) -> set[str]:
    """Those of these nodes that are lost or drained."""
    rows = await tx.find(NodeRow, id=In(tuple(node_ids))) if node_ids else []
    return {row.id for row in rows if row.draining or row.lost_since is not None}


def _by_app(pairs: Collection[tuple[str, str]]) -> dict[str, frozenset[str]]:
    return {app: frozenset(node for other, node in pairs if other == app) for app, _ in pairs}
