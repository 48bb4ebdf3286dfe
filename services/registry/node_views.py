"""A node as people see it and as the scheduler sees it: pure functions of its row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lattice.contracts.messages import SchedulableNode
from lattice.contracts.nouns import Amounts, Inventory, Liveness, Membership, NodeState, QuarantinedContainer
from lattice.contracts.states import node_state
from lattice.contracts.views import NodeView
from services.registry.disk_watermark import DiskFull
from services.registry.tables import NodePresenceRow, NodeRow

# A node that is here but whose Engine cannot be used: people see `ready` with the reason, the scheduler this word.
DEGRADED = "degraded"

_EXPLAINED: Mapping[NodeState, str] = {
    NodeState.PENDING: "waits for an admin: compare the fingerprint, then approve it",
    NodeState.JOINING: "approved; its agent has not yet reported everything that it has",
    NodeState.SUSPECT: "its heartbeats have stopped just now",
    NodeState.UNREACHABLE: "its heartbeats have stopped",
    NodeState.DRAINING: "its work is moving away",
    NodeState.CORDONED: "takes no new work",
}

_WHERE: Mapping[NodeState, Mapping[str, Any]] = {
    NodeState.PENDING: {"membership": Membership.PENDING.value},
    NodeState.REJECTED: {"membership": Membership.REJECTED.value},
    NodeState.REVOKED: {"membership": Membership.REVOKED.value},
    NodeState.JOINING: {"liveness": Liveness.JOINING.value},
    NodeState.SUSPECT: {"liveness": Liveness.SUSPECT.value},
    NodeState.UNREACHABLE: {"liveness": Liveness.UNREACHABLE.value},
    NodeState.DRAINING: {"liveness": Liveness.READY.value, "draining": True},
    NodeState.CORDONED: {"liveness": Liveness.READY.value, "draining": False, "cordoned": True},
    NodeState.READY: {"liveness": Liveness.READY.value, "draining": False, "cordoned": False},
}


def state_of(node: NodeRow) -> NodeState:
    """The one word for a node."""
    return node_state(
        Membership(node.membership), Liveness(node.liveness), cordoned=node.cordoned, draining=node.draining
    )


def where_state(state: NodeState) -> dict[str, Any]:
    """The columns of the nodes for which `state_of` gives this word."""
    return {"membership": Membership.APPROVED.value, **_WHERE[state]}


def reason_of(node: NodeRow) -> str:
    """Why the node is not simply ready, in plain words."""
    state = state_of(node)
    said = [node.reason or _EXPLAINED.get(state, "")]
    if node.membership == Membership.APPROVED and node.docker_problem:
        said.append(f"its Docker Engine cannot be used: {node.docker_problem}")
    if node.membership == Membership.APPROVED and node.disk_full:
        said.append(DiskFull.read(node.disk_full).reason)
    return "; ".join(filter(None, said))


def node_view(node: NodeRow, presence: NodePresenceRow | None, reserved: Amounts) -> NodeView:
    """The node as REST answers it."""
    inventory = Inventory.model_validate(node.inventory)
    return NodeView(
        id=node.id,
        name=node.name,
        state=state_of(node),
        reason=reason_of(node),
        labels=node.labels,
        pool=node.pool,
        arch=inventory.arch,
        os=inventory.os,
        docker_version=inventory.docker_version,
        agent_version=inventory.agent_version,
        capacity=inventory.capacity,
        policy=inventory.policy,
        reserved=reserved,
        usage=Amounts() if presence is None else Amounts.model_validate(presence.usage),
        fingerprint=node.fingerprint,
        last_seen=None if presence is None else presence.last_seen,
        created_at=node.created_at,
        certificate_expires_at=node.certificate_expires_at,
        lost_since=node.lost_since,
        quarantined=tuple(QuarantinedContainer.model_validate(found) for found in node.quarantined),
        version=node.version,
    )


def schedulable_node(
    node: NodeRow,
    reserved: Amounts,
    held_by_stopped: Amounts,
    document_free_bytes: int,
    workloads: Mapping[str, int],
    *,
    host_ports: Mapping[int, str] | None = None,
    asked_images: Collection[str] = (),
) -> SchedulableNode:
    """The node as the scheduler sees it; its state is `ready` only if it may take work now.

    A node may hold hundreds of images: only those that are asked for by id are told, or forty nodes would be more than a message holds.
    """
    inventory = Inventory.model_validate(node.inventory)
    state = state_of(node).value
    return SchedulableNode(
        node_id=node.id,
        name=node.name,
        placement_version=node.placement_version,
        state=DEGRADED if state == NodeState.READY and node.docker_problem else state,
        reason=reason_of(node),
        arch=inventory.arch,
        os=inventory.os,
        pool=node.pool,
        labels=node.labels,
        capacity=inventory.capacity,
        policy=inventory.policy,
        reserved=reserved,
        held_by_stopped=held_by_stopped,
        document_free_bytes=document_free_bytes,
        disk_problem=DiskFull.read(node.disk_full).reason if node.disk_full else "",
        image_ids=frozenset(image.id for image in inventory.images if image.id in asked_images),
        host_ports=dict(host_ports or {}),
        workloads=dict(workloads),
    )
