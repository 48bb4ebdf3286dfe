"""The registry's side of scheduling: it fences leaders, shows what wants a place, and commits placements if nothing moved.

A commit compares the term, the workload's generation and each chosen node's `placement_version`, and checks the node's room itself.  It is
partial per instance: whoever lost is answered with the newer nodes and placed again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lattice.contracts.messages import (
    CommitPlacements,
    Placement,
    PlacementsCommitted,
    RefusedPlacement,
    SchedulableNode,
    SchedulingQuery,
    SchedulingSnapshot,
    TakeTerm,
    Term,
    UnplaceableInstance,
)
from lattice.contracts.nouns import Amounts, DesiredState, Inventory, Membership
from lattice.errors import Conflict
from lattice.storage import Gt, In, Transaction
from services.registry import links, metrics, operations
from services.registry.app_places import homes_of, with_mates
from services.registry.change import SYSTEM, Change, Deps
from services.registry.deploy_steps import PLACED
from services.registry.disk_watermark import DiskFull
from services.registry.held_room import held
from services.registry.node_rows import other_sight
from services.registry.node_views import schedulable_node
from services.registry.placement_wishes import placement_requests
from services.registry.rendering import PLACEABLE_BYTES
from services.registry.tables import ClusterRow, InstanceRow, NodeRow, VolumeRow, WorkloadRow
from services.registry.workload_rows import nodes_away

# A page of nodes: some 500 bytes each, and a message of the bus holds 1 MB.
NODES_AT_ONCE = 500
# No change of the registry takes so long from its time to its commit.
LONGEST_CHANGE = timedelta(seconds=30)


async def take_term(deps: Deps, request: TakeTerm) -> Term:
    """A new leader: every commit of an older term is refused from now on."""
    async with deps.change(SYSTEM, action="scheduler.take_term") as change:
        cluster = await _cluster(change.tx, lock=True)
        change.tx.update(cluster, term=cluster.term + 1, leader=request.leader)
        change.audit(
            "scheduler", request.leader, before={"term": cluster.term - 1}, after={"term": cluster.term}
        )
        return Term(term=cluster.term)


async def scheduling_snapshot(deps: Deps, request: SchedulingQuery) -> SchedulingSnapshot:
    """Nodes with their room, a page of all or those that changed; and the instances without a place that are asked about, always with those
    that have data, and so perhaps one place only: nobody else is to take it between their end and their next start."""
    async with deps.store.transaction() as tx:
        cluster, at = await _cluster(tx), deps.now()
        rows = await _nodes_asked_for(tx, request)
        nodes = [row for row in rows if _is_member(row)]
        placed = await _placed_on(tx, nodes, at)
        wanted = await _wanted(tx, request.workload_ids) if request.after is None else []
        requests = await placement_requests(tx, wanted)
        images = request.image_ids | {each.image_id for each in requests if each.image_id is not None}
        return SchedulingSnapshot(
            term=cluster.term,
            nodes=tuple(_schedulable(node, placed.get(node.id, []), images) for node in nodes),
            wanted=tuple(requests),
            gone=tuple(row.id for row in rows if not _is_member(row)),
            more_after=rows[-1].id if len(rows) == NODES_AT_ONCE else None,
            at=at,
        )


def _is_member(row: NodeRow) -> bool:
    return row.membership == Membership.APPROVED and row.removed_at is None


async def _nodes_asked_for(tx: Transaction, request: SchedulingQuery) -> list[NodeRow]:
    if request.since is not None:
        # A change that is older than the answer may have been committed after it.
        newer = Gt(request.since - LONGEST_CHANGE)
        return await tx.find(NodeRow, placement_changed_at=newer, limit=NODES_AT_ONCE)
    members: dict[str, Any] = {"membership": Membership.APPROVED, "removed_at": None}
    if request.after is not None:
        members["id"] = Gt(request.after)
    return await tx.find(NodeRow, limit=NODES_AT_ONCE, **members)


async def _wanted(tx: Transaction, workload_ids: frozenset[str] | None) -> list[InstanceRow]:
    waiting: dict[str, Any] = {"node_id": None, "gone_at": None, "desired": DesiredState.RUNNING}
    if workload_ids is None:
        return await tx.find(InstanceRow, **waiting)
    with_data = {row.workload_id for row in await tx.find(InstanceRow, has_volume=True, **waiting)}
    asked = await with_mates(tx, workload_ids | with_data)
    return await tx.find(InstanceRow, workload_id=In(tuple(asked)), **waiting)


async def commit_placements(deps: Deps, request: CommitPlacements) -> PlacementsCommitted:
    """Write the placements that still hold."""
    async with deps.change(SYSTEM, action="instance.place") as change:
        cluster = await _cluster(change.tx, lock=True)
        if request.term != cluster.term:
            raise Conflict(f"term {request.term} is over: {cluster.leader} leads with term {cluster.term}")
        ground = await _ground(change.tx, request, change.now)
        accepted, refused = [], []
        for placement in request.placements:
            problem = await _commit(change, placement, ground)
            if problem is None:
                accepted.append(placement.instance_id)
            else:
                refused.append(RefusedPlacement(instance_id=placement.instance_id, reason=problem))
        for unplaceable in request.unplaceable:
            await _keep_reasons(change, unplaceable)
        placed = set(accepted)
        await links.touch_linking(
            change, (each.workload_id for each in request.placements if each.instance_id in placed)
        )
        fresh = tuple(_schedulable(node, ground.placed[node.id]) for node in ground.nodes.values())
        return PlacementsCommitted(accepted=tuple(accepted), refused=tuple(refused), nodes=fresh)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """All that the placements of one commit are about, read at once: as many reads for 256 as for one.

    `placed` and `homeless`, the volumes without a place, change with each placement; `seen` are the nodes' versions before the first.
    """

    nodes: Mapping[str, NodeRow]
    seen: Mapping[str, int]
    instances: Mapping[str, InstanceRow]
    workloads: Mapping[str, WorkloadRow]
    placed: dict[str, list[InstanceRow]]
    homeless: dict[str, list[VolumeRow]]


async def _ground(tx: Transaction, request: CommitPlacements, now: datetime) -> _Ground:
    """Read and lock it, in the order of `tables.LOCK_ORDER`; and lock the instances that are told to have no place."""
    placements = request.placements
    told = {each.instance_id for each in request.unplaceable}
    workload_ids = In(tuple(sorted({placement.workload_id for placement in placements})))
    node_ids = In(tuple(sorted({placement.node_id for placement in placements})))
    instance_ids = In(tuple(sorted(told | {placement.instance_id for placement in placements})))
    workloads = await tx.find(WorkloadRow, id=workload_ids)
    nodes = await tx.find(NodeRow, id=node_ids, lock=True)
    instances = await tx.find(InstanceRow, id=instance_ids, lock=True)
    placed = await _placed_on(tx, nodes, now)
    volumes = await tx.find(VolumeRow, workload_id=workload_ids, removed_at=None, node_id=None, lock=True)
    homeless: dict[str, list[VolumeRow]] = {}
    for volume in volumes:
        homeless.setdefault(volume.workload_id or "", []).append(volume)
    return _Ground(
        nodes={node.id: node for node in nodes},
        seen={node.id: node.placement_version for node in nodes},
        instances={row.id: row for row in instances},
        workloads={row.id: row for row in workloads},
        placed={node.id: placed.get(node.id, []) for node in nodes},
        homeless=homeless,
    )


async def _cluster(tx: Transaction, *, lock: bool = False) -> ClusterRow:
    row = await tx.get(ClusterRow, 1, lock=lock)
    if row is None:
        raise AssertionError("the cluster row is made at the first start")
    return row


async def _placed_on(
    tx: Transaction, nodes: Sequence[NodeRow], now: datetime
) -> dict[str, list[InstanceRow]]:
    """What has room on each node, and what had it and will have it again."""
    if not nodes:
        return {}
    node_ids, placed = tuple(node.id for node in nodes), dict[str, list[InstanceRow]]()
    there = await tx.find(InstanceRow, node_id=In(node_ids), gone_at=None)
    for row in [*there, *await held(tx, node_ids, now)]:
        placed.setdefault(row.node_id or "", []).append(row)
    return placed


def reserved(instances: Iterable[InstanceRow]) -> Amounts:
    """What the instances of a node take of it; those that are to be removed take it until they are gone."""
    rows = list(instances)
    return Amounts(
        cpu_millis=sum(row.cpu_millis for row in rows),
        memory_bytes=sum(row.memory_bytes for row in rows),
        disk_bytes=sum(row.disk_bytes for row in rows),
    )


def _document_free_bytes(instances: Iterable[InstanceRow]) -> int:
    """What the document of a node with these instances can still take."""
    kept = (row.document_bytes for row in instances if row.desired != DesiredState.REMOVED)
    return PLACEABLE_BYTES - sum(kept)


def _schedulable(
    node: NodeRow, instances: Sequence[InstanceRow], asked_images: Collection[str] = ()
) -> SchedulableNode:
    counts: dict[str, int] = {}
    for row in instances:
        counts[row.workload_id] = counts.get(row.workload_id, 0) + 1
    stopped = reserved(row for row in instances if row.desired == DesiredState.STOPPED)
    return schedulable_node(
        node,
        reserved(instances),
        stopped,
        _document_free_bytes(instances),
        counts,
        host_ports=host_ports(instances),
        asked_images=asked_images,
    )


def host_ports(instances: Iterable[InstanceRow]) -> dict[int, str]:
    """The fixed host ports of a node's instances and who has them; those that are to be removed have them until they are gone."""
    return {port: row.workload_name for row in instances for port in row.host_ports}


async def _commit(change: Change, placement: Placement, ground: _Ground) -> str | None:
    """Place one instance, or say why not."""
    instance = ground.instances.get(placement.instance_id)
    workload = ground.workloads.get(placement.workload_id)
    node = ground.nodes.get(placement.node_id)
    problem = _problem(placement, instance, workload, node, ground.seen)
    if problem is None and workload is not None and workload.app_id is not None:
        problem = await _apart(change, workload, placement.node_id)
    if problem is not None or instance is None or node is None:
        return problem or "it is gone"
    others = ground.placed[node.id]
    if not _has_room(node, others, instance):
        return f"node {node.name} has no room any more"
    if instance.document_bytes > _document_free_bytes(others):
        return f"the orders of node {node.name} have no room any more"
    taken = host_ports(others)
    if any(port in taken for port in instance.host_ports):
        return f"a fixed host port of node {node.name} is taken meanwhile"
    decision = placement.model_dump(mode="json", include={"reason", "score", "rejected"})
    change.tx.update(instance, node_id=node.id, placement=decision | {"decided_at": change.now.isoformat()})
    change.tx.update(node, document_dirty=True, **other_sight(change, node))
    others.append(instance)
    for volume in ground.homeless.pop(
        instance.workload_id, ()
    ):  # the first placement decides where they are, for good
        change.tx.update(volume, node_id=node.id)
    metrics.reached(instance, [PLACED], change.now)
    change.fact(
        "instance",
        "placed",
        entity_id=instance.id,
        entity_name=instance.workload_name,
        workload_id=instance.workload_id,
        project=instance.project,
        cause=placement.reason,
        data={
            "node": node.id,
            "workload_id": instance.workload_id,
            "slot": instance.slot,
            "reason": placement.reason,
        },
    )
    return None


def _problem(
    placement: Placement,
    instance: InstanceRow | None,
    workload: WorkloadRow | None,
    node: NodeRow | None,
    seen: Mapping[str, int],
) -> str | None:
    """Why a placement does not hold any more; None if it does."""
    if instance is None or instance.gone_at is not None or instance.desired != DesiredState.RUNNING:
        return "the instance is not wanted any more"
    if instance.node_id is not None:
        return "the instance has a place already"
    if workload is None or workload.generation != placement.workload_generation:
        return "the workload changed meanwhile"
    if node is None:
        return "the node is gone"
    if seen[node.id] != placement.placement_version:
        return f"node {node.name} changed meanwhile"
    if node.disk_full:
        return f"node {node.name} takes no new work: {DiskFull.read(node.disk_full).reason}"
    return None


async def _apart(change: Change, workload: WorkloadRow, node_id: str) -> str | None:
    """Why an app's instance may not be there: the rest of it is elsewhere, and it has no data of its own here."""
    await change.tx.flush()
    home = (await homes_of(change.tx, {workload.app_id or ""})).get(workload.app_id or "")
    if home in (None, node_id) or await change.tx.count(
        VolumeRow, workload_id=workload.id, node_id=node_id, removed_at=None
    ):
        return None
    return f"app {workload.app} is on another node"


def _has_room(node: NodeRow, others: Sequence[InstanceRow], instance: InstanceRow) -> bool:
    taken = reserved(others)
    capacity = Inventory.model_validate(node.inventory).capacity
    return (
        taken.cpu_millis + instance.cpu_millis <= capacity.cpu_millis
        and taken.memory_bytes + instance.memory_bytes <= capacity.memory_bytes
        and taken.disk_bytes + instance.disk_bytes <= capacity.disk_bytes
    )


async def _keep_reasons(change: Change, unplaceable: UnplaceableInstance) -> None:
    """Show why an instance has no place; said as a fact only when the reason is a new one."""
    instance = await change.tx.get(InstanceRow, unplaceable.instance_id, lock=True)
    if instance is None or instance.node_id is not None or instance.gone_at is not None:
        return
    known = (instance.placement or {}).get("reason")
    decision = {
        "reason": unplaceable.summary,
        "rejected": [node.model_dump(mode="json") for node in unplaceable.rejected],
        "decided_at": change.now.isoformat(),
    }
    if known == unplaceable.summary and (instance.placement or {}).get("rejected") == decision["rejected"]:
        return
    change.tx.update(instance, placement=decision)
    if known != unplaceable.summary:
        change.fact(
            "instance",
            "unplaceable",
            entity_id=instance.id,
            entity_name=instance.workload_name,
            workload_id=instance.workload_id,
            project=instance.project,
            cause=unplaceable.summary,
            data={"workload_id": instance.workload_id, "reason": unplaceable.summary},
        )
        await operations.advance(change, instance.workload_id, away=await nodes_away(change.tx))
