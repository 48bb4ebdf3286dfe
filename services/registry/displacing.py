"""Finds the workloads that have to leave a node: asked by the sweep each second, reads only where a node is lost or drained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lattice.contracts.nouns import DesiredState
from lattice.contracts.spec import WorkloadSpec
from lattice.storage import In, Not, Transaction
from services.registry.displacement import Displaced, Displacement, NodeSight, displaced
from services.registry.tables import ClusterRow, InstanceRow, NodeRow, RevisionRow


@dataclass(frozen=True, slots=True)
class Sights:
    """What is known of the nodes that are lost or drained."""

    nodes: Mapping[str, NodeSight]
    held_until: datetime | None

    def of(self, row: InstanceRow, spec: WorkloadSpec, now: datetime) -> Displaced:
        """Whether this instance has to go elsewhere."""
        node = self.nodes.get(row.node_id or "")
        if node is None:
            return Displaced()
        policy = spec.on_node_loss
        return displaced(node, policy, has_volume=row.has_volume, held_until=self.held_until, now=now)


async def see(tx: Transaction) -> Sights:
    """The nodes that are lost or drained, now."""
    lost = await tx.find(NodeRow, lost_since=Not(None), removed_at=None)
    drained = await tx.find(NodeRow, draining=True, removed_at=None)
    nodes = {row.id: _sight(row) for row in (*lost, *drained)}
    cluster = await tx.get(ClusterRow, 1) if lost else None
    return Sights(nodes, cluster.moves_held_until if cluster else None)


def _sight(row: NodeRow) -> NodeSight:
    return NodeSight(
        name=row.name, draining=row.draining, lost_since=row.lost_since, loss_confirmed=row.loss_confirmed
    )


async def workloads_to_move(tx: Transaction, now: datetime) -> list[str]:
    """The ids of workloads of which an instance has to go elsewhere now."""
    sights = await see(tx)
    if not sights.nodes:
        return []
    rows = await tx.find(
        InstanceRow,
        node_id=In(tuple(sights.nodes)),
        gone_at=None,
        desired=DesiredState.RUNNING,
        has_volume=False,
    )
    specs = await _specs(tx, rows)
    return sorted(
        {
            row.workload_id
            for row in rows
            if sights.of(row, specs[row.workload_id, row.revision], now).how is not Displacement.NONE
        }
    )


async def _specs(tx: Transaction, rows: Sequence[InstanceRow]) -> dict[tuple[str, int], WorkloadSpec]:
    ids = tuple({f"{row.workload_id}-{row.revision}" for row in rows})
    revisions = await tx.find(RevisionRow, id=In(ids)) if ids else []
    return {(row.workload_id, row.number): WorkloadSpec.model_validate(row.spec) for row in revisions}
