"""Whether an instance has to run on another node, and why.  Pure.

Work moves off a node that is drained, and off one that is lost for longer than the workload allows.  Data never moves: an instance with a
volume is held.  When many nodes vanish together the fault is probably ours, and nothing moves until people say so or time passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from lattice.contracts.spec import NodeLossMode, NodeLossSpec


class Displacement(StrEnum):
    """How an instance has to leave its node."""

    NONE = "none"
    DRAINED = "drained"  # it serves until another one does
    LOST = "lost"  # it does not serve; its container goes when the node is back
    FAILING = "failing"  # it is tried where it is until another one serves elsewhere (`rescheduling`)
    APART = "apart"  # the rest of its app is elsewhere: it serves until another one does there


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSight:
    """What is known of a node that an instance is on; `lost_since` is None while it is heard."""

    name: str
    draining: bool = False
    lost_since: datetime | None = None
    loss_confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Displaced:
    """The answer, and its reason."""

    how: Displacement = Displacement.NONE
    reason: str = ""


def displaced(
    node: NodeSight,
    policy: NodeLossSpec,
    *,
    has_volume: bool,
    moves_held: bool,
    now: datetime,
) -> Displaced:
    """Whether an instance on this node has to go elsewhere now."""
    if has_volume:
        return _held(node)
    if node.lost_since is not None:
        return _lost(node, policy, now, moves_held=moves_held)
    if node.draining:
        return Displaced(how=Displacement.DRAINED, reason=f"node {node.name} is drained")
    return Displaced()


def _held(node: NodeSight) -> Displaced:
    if node.lost_since is not None:
        return Displaced(reason=f"held: its data is on node {node.name}, which cannot be reached")
    if node.draining:
        return Displaced(reason=f"held: its data is on node {node.name}")
    return Displaced()


def _lost(node: NodeSight, policy: NodeLossSpec, now: datetime, *, moves_held: bool) -> Displaced:
    assert node.lost_since is not None
    lost = Displaced(how=Displacement.LOST, reason=f"node {node.name} is lost")
    if policy.stateless is NodeLossMode.STAY:
        return Displaced(reason=f"stays on node {node.name}, which cannot be reached: on_node_loss says so")
    if node.loss_confirmed:
        return lost
    if moves_held:
        return Displaced(
            reason=f"not moved yet: many nodes vanished together; `lattice node confirm-lost {node.name}` moves it now"
        )
    waits_s = (node.lost_since + timedelta(seconds=policy.lost_after) - now).total_seconds()
    return (
        lost if waits_s <= 0 else Displaced(reason=f"moves in {waits_s:.0f} s if node {node.name} stays away")
    )
