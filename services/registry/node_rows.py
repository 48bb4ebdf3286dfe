"""Reading and writing node rows: every change of a node goes through `write_node`.

It raises `placement_version` exactly when the scheduler would see another node, so a placement decided on the old sight is refused.  What
is heard with each heartbeat is not among it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from lattice.contracts.nouns import Amounts, Liveness, Membership
from lattice.errors import NotFound
from lattice.storage import In, Transaction
from services.registry.change import Change
from services.registry.disk_watermark import DiskFull
from services.registry.tables import InstanceRow, NodeRow, VolumeRow

_SEEN_BY_SCHEDULER = frozenset(
    {
        "membership",
        "removed_at",
        "liveness",
        "cordoned",
        "draining",
        "pool",
        "labels",
        "docker_problem",
        "disk_full",
    }
)
_SEEN_OF_INVENTORY = ("arch", "os", "capacity", "images", "policy")


def write_node(change: Change, node: NodeRow, **columns: Any) -> NodeRow:
    """Write the columns that differ; the row as it will be."""
    different = {name: value for name, value in columns.items() if getattr(node, name) != value}
    if not different:
        return node
    if _is_seen(node, different):
        different |= other_sight(change, node)
    return change.tx.update(node, **different)


def other_sight(change: Change, node: NodeRow) -> dict[str, Any]:
    """What to write where the scheduler would see another node from now on."""
    return {"placement_version": node.placement_version + 1, "placement_changed_at": change.now}


def _is_seen(node: NodeRow, different: Mapping[str, Any]) -> bool:
    if _SEEN_BY_SCHEDULER & different.keys():
        return True
    inventory = different.get("inventory", node.inventory)
    return any(inventory.get(part) != node.inventory.get(part) for part in _SEEN_OF_INVENTORY)


def become(
    change: Change,
    node: NodeRow,
    liveness: Liveness,
    *,
    cause: str = "",
    data: Mapping[str, Any] | None = None,
) -> NodeRow:
    """The node's liveness is now this; says so if it was another."""
    if node.liveness == liveness:
        return node
    change.fact("node", liveness.value, entity_id=node.id, entity_name=node.name, cause=cause, data=data)
    lost = change.now if liveness is Liveness.UNREACHABLE else None
    return write_node(change, node, liveness=liveness.value, lost_since=lost, loss_confirmed=False)


def note_docker_problem(change: Change, node: NodeRow, problem: str) -> NodeRow:
    """Why the node's Engine cannot be used, or "" when it can again; says so if it was otherwise."""
    if node.docker_problem == problem:
        return node
    verb = "degraded" if problem else "recovered"
    change.fact("node", verb, entity_id=node.id, entity_name=node.name, cause=problem)
    return write_node(change, node, docker_problem=problem)


def note_disk_full(change: Change, node: NodeRow, found: DiskFull | None) -> NodeRow:
    """Whether the node's disk is too full for new work; says so when it becomes so, and when it is no longer."""
    if (node.disk_full is None) != (found is None):
        verb = "disk_freed" if found is None else "disk_full"
        cause = "" if found is None else found.reason
        change.fact("node", verb, entity_id=node.id, entity_name=node.name, cause=cause)
    full = None if found is None else asdict(found)
    return write_node(change, node, disk_full=full, disk_low=found is not None)


async def find_node(tx: Transaction, ref: str, *, lock: bool = False) -> NodeRow:
    """The node with this id or name.  Raises NotFound."""
    node = await tx.get(NodeRow, ref, lock=lock)
    if node is not None and node.removed_at is None:
        return node
    named = await tx.find(NodeRow, name=ref, removed_at=None, lock=lock, limit=1)
    if not named:
        raise NotFound(f"There is no node {ref!r}: `lattice node ls` shows all.")
    return named[0]


async def holder_of(tx: Transaction, volume: VolumeRow, *, lock: bool = False) -> NodeRow | None:
    """The node that will report the volume gone; None if it never had a place, or its node was removed and never reports again."""
    node = await tx.get(NodeRow, volume.node_id, lock=lock) if volume.node_id else None
    return node if node is not None and node.removed_at is None else None


async def members_of(tx: Transaction, instances: Iterable[InstanceRow]) -> frozenset[str]:
    """Of the nodes of these instances those that are members: one that is revoked is neither led to nor led on."""
    ids = tuple(sorted({row.node_id for row in instances if row.node_id}))
    rows = await tx.find(NodeRow, id=In(ids), membership=Membership.APPROVED, removed_at=None) if ids else []
    return frozenset(row.id for row in rows)


async def instances_on(tx: Transaction, node_ids: Iterable[str], *, lock: bool = False) -> list[InstanceRow]:
    """The instances that are on these nodes and not yet gone."""
    return await tx.find(InstanceRow, node_id=In(tuple(node_ids)), gone_at=None, lock=lock)


def reserved_by(instances: Iterable[InstanceRow]) -> dict[str, Amounts]:
    """What the instances reserve, by node id."""
    reserved: dict[str, Amounts] = {}
    for instance in instances:
        if instance.node_id is not None:
            reserved[instance.node_id] = _plus(reserved.get(instance.node_id, Amounts()), instance)
    return reserved


def _plus(sum_: Amounts, instance: InstanceRow) -> Amounts:
    return Amounts(
        cpu_millis=sum_.cpu_millis + instance.cpu_millis,
        memory_bytes=sum_.memory_bytes + instance.memory_bytes,
        disk_bytes=sum_.disk_bytes + instance.disk_bytes,
    )
