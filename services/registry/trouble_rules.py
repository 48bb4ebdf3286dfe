"""What is wrong with a node or a workload: pure, one question each.

A workload has at most one trouble of its instances, the one that says most: a container that ends again and again is not told as failed as
well each time that it lies between two starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lattice.contracts.messages import PLATFORM, Trouble, TroubleKind
from lattice.contracts.nouns import DesiredState, InstanceState, Liveness, Membership, WorkloadState
from lattice.contracts.states import workload_state

_AWAY = (InstanceState.LOST, InstanceState.HELD)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSight:
    """What is known of a node, or of a machine that wants to be one."""

    node_id: str
    name: str
    membership: Membership
    liveness: Liveness
    reason: str = ""
    fingerprint: str = ""
    created_at: datetime
    lost_since: datetime | None = None
    engine_problem: str = ""
    disk_problem: str = ""
    cloned: bool = False
    certificate_expires_at: datetime | None = None
    agent_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What nodes are held against: certificates are renewed when so much of their life is left, agents are of this version."""

    renewed_before: timedelta
    version: str


def node_troubles(node: NodeSight, expected: Expectations, now: datetime) -> list[Trouble]:
    """Everything that is wrong with a node; of one that cannot be reached nothing else is known."""
    if node.membership is Membership.PENDING:
        detail = f"{node.name} waits with the fingerprint {node.fingerprint}"
        return [_of_node(node, TroubleKind.NODE_PENDING, detail, since=node.created_at)]
    if node.membership is not Membership.APPROVED:
        return []
    found = [_of_node(node, TroubleKind.NODE_CLONED, node.reason)] if node.cloned else []
    if node.liveness is Liveness.UNREACHABLE:
        detail = f"node {node.name} was not heard for a while"
        return [*found, _of_node(node, TroubleKind.NODE_UNREACHABLE, detail, since=node.lost_since)]
    return [*found, *_of_a_living_node(node, expected, now)]


def _of_a_living_node(node: NodeSight, expected: Expectations, now: datetime) -> list[Trouble]:
    found = []
    if node.engine_problem:
        found.append(_of_node(node, TroubleKind.NODE_ENGINE_AWAY, node.engine_problem))
    if node.disk_problem:
        found.append(_of_node(node, TroubleKind.NODE_DISK_LOW, node.disk_problem))
    expires_at = node.certificate_expires_at
    if expires_at is not None and expires_at - now < expected.renewed_before:
        detail = f"the certificate of node {node.name} expires at {expires_at:%Y-%m-%d %H:%M} UTC"
        found.append(_of_node(node, TroubleKind.NODE_CERTIFICATE_EXPIRING, detail))
    if node.agent_version and node.agent_version != expected.version:
        detail = f"the agent of {node.name} is {node.agent_version}, the platform is {expected.version}"
        found.append(_of_node(node, TroubleKind.NODE_VERSION_SKEW, detail))
    return found


def _of_node(node: NodeSight, kind: TroubleKind, detail: str, *, since: datetime | None = None) -> Trouble:
    return Trouble(
        kind=kind, project=PLATFORM, entity_id=node.node_id, entity_name=node.name, since=since, detail=detail
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSight:
    """One instance that is to run, by its displayed state."""

    state: InstanceState
    reason: str = ""
    node_name: str = ""
    failing_since: datetime | None = None
    unready_since: datetime | None = None
    unplaced_since: datetime | None = None
    unplaced_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSight:
    """A workload that is to run, and the instances that it has or is to have."""

    workload_id: str
    name: str
    project: str
    replicas: int
    instances: Sequence[InstanceSight]

    def trouble(self, kind: TroubleKind, detail: str, since: datetime | None, mark: str = "") -> Trouble:
        """Something is wrong with it."""
        return Trouble(
            kind=kind,
            project=self.project,
            entity_id=self.workload_id,
            entity_name=self.name,
            since=since,
            detail=detail,
            mark=mark,
        )


def workload_troubles(workload: WorkloadSight) -> list[Trouble]:
    """What is wrong with a workload's instances."""
    found = [_unplaceable(workload), _not_working(workload)]
    return [trouble for trouble in found if trouble is not None]


def _unplaceable(workload: WorkloadSight) -> Trouble | None:
    waiting = [each for each in workload.instances if each.unplaced_since is not None]
    if not waiting:
        return None
    since = min(each.unplaced_since for each in waiting if each.unplaced_since is not None)
    detail = next((each.unplaced_reason for each in waiting if each.unplaced_reason), "no node fits")
    return workload.trouble(TroubleKind.WORKLOAD_UNPLACEABLE, detail, since)


def _not_working(workload: WorkloadSight) -> Trouble | None:
    failing = [each for each in workload.instances if each.failing_since is not None]
    if failing:
        since = min(each.failing_since for each in failing if each.failing_since is not None)
        return workload.trouble(TroubleKind.WORKLOAD_CRASH_LOOPING, _why(failing), since)
    state = workload_state(
        DesiredState.RUNNING, workload.replicas, [each.state for each in workload.instances]
    )
    kinds = {
        WorkloadState.FAILED: TroubleKind.WORKLOAD_FAILED,
        WorkloadState.DEGRADED: TroubleKind.WORKLOAD_DEGRADED,
    }
    if state not in kinds:
        return None
    ill = [each for each in workload.instances if each.state is not InstanceState.RUNNING]
    return workload.trouble(kinds[state], _why(ill), _since(ill))


def _since(ill: Sequence[InstanceSight]) -> datetime | None:
    known = [each.unready_since for each in ill if each.unready_since is not None]
    return min(known) if known and not any(each.state in _AWAY for each in ill) else None


def _why(ill: Sequence[InstanceSight]) -> str:
    """The first reason given, and how many there are."""
    first = next((each for each in ill if each.reason), ill[0] if ill else None)
    if first is None:
        return ""
    reason = first.reason or f"an instance is {first.state.value}"
    where = f" on node {first.node_name}" if first.node_name else ""
    more = f", and {len(ill) - 1} more" if len(ill) > 1 else ""
    return f"{reason}{where}{more}"
