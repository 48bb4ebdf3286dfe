"""What a node leaves behind: the secrets it could read, and what is given up when it is forgotten."""

from __future__ import annotations

from lattice.contracts.nouns import Liveness, Membership, Phase
from lattice.storage import In, Transaction
from services.registry.change import Change
from services.registry.node_rows import instances_on, write_node
from services.registry.tables import (
    InstanceRow,
    NodePresenceRow,
    NodeRow,
    SealedCopyRow,
    SecretRow,
    VolumeRow,
)


async def secrets_on(tx: Transaction, node_id: str) -> list[str]:
    """The secrets that were sealed for the node, as `project/name`."""
    sealed = await tx.find(SealedCopyRow, node_id=node_id)
    secret_ids = tuple(sorted({copy.secret_id for copy in sealed}))
    return sorted(f"{row.project}/{row.name}" for row in await tx.find(SecretRow, id=In(secret_ids)))


async def forget(change: Change, node: NodeRow) -> list[str]:
    """The node is gone (its row stays for history), and with it what was still on it; returns the workloads that this concerns."""
    instances = await instances_on(change.tx, [node.id], lock=True)
    for instance in instances:
        _give_up(change, instance, node)
    await _end_volumes(change, node)
    for copy in await change.tx.find(SealedCopyRow, node_id=node.id):
        change.tx.delete(copy)
    presence = await change.tx.get(NodePresenceRow, node.id)
    if presence is not None:
        change.tx.delete(presence)
    before = {"membership": node.membership, "name": node.name}
    write_node(
        change, node, liveness=Liveness.UNREACHABLE.value, removed_at=change.now, **_decided(change, node)
    )
    change.fact("node", "removed", entity_id=node.id, entity_name=node.name)
    change.audit("node", node.id, entity_name=node.name, before=before)
    return sorted({instance.workload_id for instance in instances})


async def _end_volumes(change: Change, node: NodeRow) -> None:
    """What was to be removed from the node is gone with it; the others stay on record until somebody removes them."""
    for volume in await change.tx.find(VolumeRow, node_id=node.id, removing=True, removed_at=None, lock=True):
        change.tx.update(volume, removed_at=change.now)
        change.fact("volume", "removed", entity_id=volume.id, entity_name=volume.name, project=volume.project)


def _decided(change: Change, node: NodeRow) -> dict[str, object]:
    """Removing a member revokes it: its ticket would be good for hours."""
    if node.membership != Membership.APPROVED:
        return {}
    return {"membership": Membership.REVOKED.value, "decided_at": change.now}


def _give_up(change: Change, instance: InstanceRow, node: NodeRow) -> None:
    reason = f"its node {node.name} was removed"
    change.tx.update(instance, phase=Phase.FAILED.value, reason=reason, gone_at=change.now)
    change.fact(
        "instance",
        "lost",
        entity_id=instance.id,
        entity_name=instance.workload_name,
        project=instance.project,
        cause=reason,
        data={
            "node": node.id,
            "workload": instance.workload_id,
            "slot": instance.slot,
            "epoch": instance.epoch,
        },
    )
