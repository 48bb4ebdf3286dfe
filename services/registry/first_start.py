"""What must be there before the first request: the cluster's row, the default project, the head of the facts."""

from __future__ import annotations

from lattice.errors import LatticeError
from services.registry.change import Deps
from services.registry.tables import ClusterRow, FactHeadRow, ProjectRow


async def ensure_cluster(deps: Deps, cluster_id: str) -> ClusterRow:
    """Make what is missing; refuses a database that belongs to another platform."""
    async with deps.store.transaction() as tx:
        await tx.lock("first-start")
        cluster = await tx.get(ClusterRow, 1)
        if cluster is not None and cluster.cluster_id != cluster_id:
            raise LatticeError(
                f"this database belongs to platform {cluster.cluster_id}, and these keys to {cluster_id}: "
                "use the data directory and the database of one platform together"
            )
        if await tx.get(FactHeadRow, 1) is None:
            tx.add(FactHeadRow(id=1, seq=0))
        if await tx.get(ProjectRow, "default") is None:
            tx.add(ProjectRow(id="default", created_at=deps.now()))
        if cluster is None:
            cluster = tx.add(ClusterRow(id=1, cluster_id=cluster_id, created_at=deps.now()))
        return cluster
