"""What may be done with a node in which standing: pure.

A command on a node is `ALLOWED`, already `DONE` (repeating it is no error and leaves no trace), or contradicts what the node is: then a
Conflict says what it is and what to do instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from lattice.contracts.nouns import Membership
from lattice.errors import Conflict

PENDING, APPROVED, REJECTED, REVOKED = (
    Membership.PENDING,
    Membership.APPROVED,
    Membership.REJECTED,
    Membership.REVOKED,
)


class Act(StrEnum):
    """A command about a node, as people name it."""

    APPROVE = "approve"
    REJECT = "reject"
    REVOKE = "revoke"
    CORDON = "cordon"
    UNCORDON = "uncordon"
    DRAIN = "drain"
    CONFIRM_LOST = "confirm_lost"
    UPDATE = "update"
    REMOVE = "remove"


class Ruling(StrEnum):
    ALLOWED = "allowed"
    DONE = "done"


class Entitlement(StrEnum):
    """Whether a machine may have credentials now."""

    ENTITLED = "entitled"
    PENDING = "pending"
    REJECTED = "rejected"
    REVOKED = "revoked"
    LAPSED = "lapsed"  # it was away for too long: an admin must look at it again


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the rules look at."""

    name: str
    membership: Membership
    cordoned: bool = False
    draining: bool = False
    lapsed: bool = False
    instances: int = 0


_JOIN_AGAIN = "remove it (`lattice node rm {name}`) and let the machine join with a new token"
# What each command makes of each membership; where it is missing, the command contradicts it.
_MAKES: Mapping[Act, Mapping[Membership, Ruling]] = {
    Act.APPROVE: {PENDING: Ruling.ALLOWED, APPROVED: Ruling.DONE},
    Act.REJECT: {PENDING: Ruling.ALLOWED, REJECTED: Ruling.DONE},
    Act.REVOKE: {APPROVED: Ruling.ALLOWED, REVOKED: Ruling.DONE},
    Act.CORDON: {APPROVED: Ruling.ALLOWED},
    Act.UNCORDON: {APPROVED: Ruling.ALLOWED},
    Act.DRAIN: {APPROVED: Ruling.ALLOWED},
    Act.CONFIRM_LOST: {APPROVED: Ruling.ALLOWED, REVOKED: Ruling.ALLOWED},
    Act.UPDATE: {PENDING: Ruling.ALLOWED, APPROVED: Ruling.ALLOWED},
    Act.REMOVE: dict.fromkeys(Membership, Ruling.ALLOWED),
}
_INSTEAD: Mapping[tuple[Act, Membership], str] = {
    (Act.APPROVE, REJECTED): _JOIN_AGAIN,
    (Act.APPROVE, REVOKED): _JOIN_AGAIN,
    (Act.REJECT, APPROVED): "revoke it (`lattice node revoke {name}`)",
    (Act.REVOKE, PENDING): "reject it (`lattice node reject {name}`)",
    (Act.DRAIN, PENDING): "approve it first (`lattice node approve {name}`)",
    (Act.CORDON, PENDING): "approve it first (`lattice node approve {name}`)",
}


def rule(act: Act, node: Standing) -> Ruling:
    """Whether the command may be carried out.  Raises Conflict."""
    ruling = _MAKES[act].get(node.membership)
    if ruling is None:
        raise Conflict(f"Cannot {act} node {node.name}: it is {node.membership}{_advice(act, node)}.")
    if act is Act.APPROVE and node.lapsed:
        return Ruling.ALLOWED  # approved again after it was away for too long
    if act is Act.REMOVE:
        _check_empty(node)
    return Ruling.DONE if _is_so(act, node) else ruling


def _is_so(act: Act, node: Standing) -> bool:
    if act is Act.CORDON:
        return node.cordoned
    return act is Act.UNCORDON and not node.cordoned and not node.draining


def _advice(act: Act, node: Standing) -> str:
    instead = _INSTEAD.get((act, node.membership))
    return f"; {instead.format(name=node.name)}" if instead else ""


def _check_empty(node: Standing) -> None:
    if node.instances and node.membership is APPROVED:
        count = "1 instance is" if node.instances == 1 else f"{node.instances} instances are"
        raise Conflict(
            f"Cannot remove node {node.name}: {count} on it. Remove their workloads first (`lattice ps`, `lattice rm NAME`), or "
            f"revoke it if it will not come back (`lattice node revoke {node.name}`): then what is on it is given up.",
            data={"instances": node.instances},
        )


def entitlement(
    membership: Membership,
    *,
    expired_at: datetime | None,
    approved_at: datetime | None,
    now: datetime,
    renewal_window: timedelta,
) -> Entitlement:
    """Whether a machine that proved its key gets credentials.

    One that comes back within `renewal_window` of the expiry of its last credentials is still known; later, an approval newer than
    that expiry is needed.
    """
    if membership is not APPROVED:
        return Entitlement(membership.value)
    approved_since = expired_at is None or (approved_at is not None and approved_at > expired_at)
    if approved_since or expired_at is None or now <= expired_at + renewal_window:
        return Entitlement.ENTITLED
    return Entitlement.LAPSED
