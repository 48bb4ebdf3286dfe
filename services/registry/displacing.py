"""Finds the workloads that have to leave a node: asked by the sweep each second, reads only where a node is lost or drained, or an instance
keeps failing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from lattice.contracts.nouns import DesiredState, Liveness, Membership
from lattice.contracts.spec import WorkloadSpec
from lattice.storage import In, Not, Transaction
from services.registry.app_places import bound_to, homes_of
from services.registry.displacement import Displaced, Displacement, NodeSight, displaced
from services.registry.rescheduling import Failing, tried_elsewhere
from services.registry.tables import ClusterRow, InstanceRow, NodeRow, RevisionRow, WorkloadRow


@dataclass(frozen=True, slots=True)
class Sights:
    """What is known of the nodes that are lost or drained; and where an instance keeps failing, of its node and of those that take work."""

    nodes: Mapping[str, NodeSight]
    moves_held: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    open_pools: Mapping[str, str] = field(default_factory=dict)
    # workloads that stay where the data of their app is
    bound: Collection[str] = ()
    # where the app of the workload that is looked at has to be
    home: str | None = None

    def of(self, row: InstanceRow, spec: WorkloadSpec, now: datetime) -> Displaced:
        """Whether this instance has to go elsewhere."""
        node = self.nodes.get(row.node_id or "")
        if node is None:
            return self._failing(row, spec, now) if self.home is None else self._apart(row)
        policy, stays = spec.on_node_loss, row.has_volume or row.workload_id in self.bound
        return displaced(node, policy, has_volume=stays, moves_held=self.moves_held, now=now)

    def _apart(self, row: InstanceRow) -> Displaced:
        """An app is brought together; one of its services that keeps failing is not tried elsewhere by itself."""
        if row.node_id in (None, self.home) or row.has_volume:
            return Displaced()
        return Displaced(how=Displacement.APART, reason="the rest of its app is on another node")

    def _failing(self, row: InstanceRow, spec: WorkloadSpec, now: datetime) -> Displaced:
        """One that was given up once is so until it is gone or has recovered."""
        if row.has_volume or row.ended or row.failing_since is None or row.node_id is None:
            return Displaced()
        if row.given_up:
            return Displaced(how=Displacement.FAILING, reason=row.given_up)
        pools = {pool for node_id, pool in self.open_pools.items() if node_id != row.node_id}
        failing = failing_of(row, self.names.get(row.node_id, row.node_id))
        return tried_elsewhere(failing, spec, pools=pools, now=now)


def failing_of(row: InstanceRow, node: str) -> Failing:
    """A failing instance as the rule sees it."""
    assert row.failing_since is not None
    reason = str((row.last_exit or {}).get("reason") or row.reason or "it does not start")
    decided_at = (row.placement or {}).get("decided_at")
    return Failing(
        node=node,
        since=row.failing_since,
        placed_at=datetime.fromisoformat(decided_at) if decided_at else row.created_at,
        reason=reason,
        moves=row.moves,
    )


async def see(tx: Transaction, instances: Iterable[InstanceRow] = (), *, app_id: str | None = None) -> Sights:
    """The nodes that are lost or drained, now; those that take work, if one of these instances keeps failing; where the app is to be."""
    lost = await tx.find(NodeRow, lost_since=Not(None), removed_at=None)
    drained = await tx.find(NodeRow, draining=True, removed_at=None)
    nodes = {row.id: _sight(row) for row in (*lost, *drained)}
    cluster = await tx.get(ClusterRow, 1) if lost else None
    held = cluster is not None and cluster.moves_held_until is not None
    failing = [row for row in instances if row.failing_since is not None and not row.has_volume]
    together = app_id is not None  # whose services reach each other on one node only
    sights = Sights(
        nodes,
        held,
        bound=await bound_to(tx, nodes),
        home=(await homes_of(tx, {app_id})).get(app_id) if app_id else None,
    )
    if not failing or together:
        return sights
    here = await tx.find(NodeRow, id=In(tuple({row.node_id or "" for row in failing})))
    return replace(sights, names={row.id: row.name for row in here}, open_pools=await _open_pools(tx))


async def _open_pools(tx: Transaction) -> dict[str, str]:
    """The nodes that take work: id -> pool."""
    rows = await tx.find(
        NodeRow,
        membership=Membership.APPROVED,
        liveness=Liveness.READY,
        cordoned=False,
        draining=False,
        removed_at=None,
    )
    return {row.id: row.pool for row in rows}


def _sight(row: NodeRow) -> NodeSight:
    return NodeSight(
        name=row.name, draining=row.draining, lost_since=row.lost_since, loss_confirmed=row.loss_confirmed
    )


async def workloads_to_move(tx: Transaction, now: datetime) -> list[str]:
    """The ids of workloads of which an instance has to go elsewhere now."""
    failing = await _outside_apps(tx, await tx.find(InstanceRow, failing_since=Not(None), **_MOVABLE))
    sights = await see(tx, failing)
    there = await tx.find(InstanceRow, node_id=In(tuple(sights.nodes)), **_MOVABLE) if sights.nodes else []
    rows = [*there, *failing]
    specs = await _specs(tx, rows)
    return sorted(
        {
            row.workload_id
            for row in rows
            if sights.of(row, specs[row.workload_id, row.revision], now).how is not Displacement.NONE
        }
    )


async def _outside_apps(tx: Transaction, rows: Sequence[InstanceRow]) -> list[InstanceRow]:
    ids = tuple({row.workload_id for row in rows})
    in_apps = await tx.find(WorkloadRow, id=In(ids), app_id=Not(None)) if ids else []
    return [row for row in rows if row.workload_id not in {workload.id for workload in in_apps}]


_MOVABLE: dict[str, Any] = {"gone_at": None, "desired": DesiredState.RUNNING, "has_volume": False}


async def _specs(tx: Transaction, rows: Sequence[InstanceRow]) -> dict[tuple[str, int], WorkloadSpec]:
    ids = tuple({f"{row.workload_id}-{row.revision}" for row in rows})
    revisions = await tx.find(RevisionRow, id=In(ids)) if ids else []
    return {(row.workload_id, row.number): WorkloadSpec.model_validate(row.spec) for row in revisions}
