"""The one word that people see, as pure functions of the independent facts behind it.

An instance is three facts: `phase`, `health`, `reachability`.  A node is three too: `membership`, `liveness`, and whether an operator
has cordoned or is draining it.  The whole tables are in docs/states.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from lattice.contracts.nouns import (
    DesiredState,
    Health,
    InstanceState,
    Liveness,
    Membership,
    NodeState,
    Phase,
    Reachability,
    WorkloadState,
)

_ENDED = (Phase.STOPPED, Phase.FAILED)


def furthest(known: Phase, reported: Phase, *, desired: DesiredState) -> Phase:
    """Of two phases of one instance the one that is further on.

    A retry of the agent may report `pulling` after `starting`: the instance is still starting.  `running` and `failed` may alternate
    while the agent restarts a container locally, so a report that follows them is taken as it is, unless it would unstart the instance.
    What was stopping or stopped and is wanted `running` again (by its user: same instance, same epoch) is taken as it is reported.
    """
    order = list(Phase)
    if known in (Phase.RUNNING, Phase.FAILED) and reported in (Phase.RUNNING, Phase.FAILED):
        return reported
    resumes = known is Phase.STOPPED or (known is Phase.STOPPING and desired is DesiredState.RUNNING)
    if resumes and reported in (Phase.STARTING, Phase.RUNNING):
        return reported
    return reported if order.index(reported) >= order.index(known) else known


def reachability(liveness: Liveness, *, has_volume: bool) -> Reachability:
    """Derived from the instance's node: a lost node's instance is held when it has a volume."""
    if liveness is not Liveness.UNREACHABLE:
        return Reachability.OK
    return Reachability.HELD if has_volume else Reachability.LOST


def instance_state(phase: Phase, health: Health, reach: Reachability) -> InstanceState:
    """The displayed state of an instance.  What has ended stays ended even if its node is away."""
    if phase in _ENDED:
        return InstanceState(phase.value)
    if reach is not Reachability.OK and phase is not Phase.STOPPING:
        return InstanceState(reach.value)
    if phase is Phase.RUNNING and health is Health.UNHEALTHY:
        return InstanceState.UNHEALTHY
    return InstanceState(phase.value)


def node_state(membership: Membership, liveness: Liveness, *, cordoned: bool, draining: bool) -> NodeState:
    """The displayed state of a node: what needs attention most wins."""
    if membership is not Membership.APPROVED:
        return NodeState(membership.value)
    if liveness in (Liveness.UNREACHABLE, Liveness.SUSPECT, Liveness.JOINING):
        return NodeState(liveness.value)
    if draining:
        return NodeState.DRAINING
    return NodeState.CORDONED if cordoned else NodeState.READY


def is_ready(phase: Phase, health: Health) -> bool:
    """Whether an instance serves: it runs, and its check (if it has one) says healthy."""
    return phase is Phase.RUNNING and health is Health.HEALTHY


def serves(phase: Phase, health: Health, *, ended: bool) -> bool:
    """Whether an instance is as it ought to be: ready, or ended well where its restart policy leaves it so."""
    return is_ready(phase, health) or (ended and phase is Phase.STOPPED)


def app_state(desired: DesiredState, workloads: Sequence[WorkloadState]) -> WorkloadState:
    """The displayed state of an app: what needs attention most of its workloads' states; one that ended well is not missed."""
    if desired is DesiredState.REMOVED:
        return WorkloadState.REMOVING
    present = [state for state in workloads if state is not WorkloadState.REMOVING]
    if present and all(state is WorkloadState.STOPPED for state in present):
        return WorkloadState.STOPPED
    return next((state for state in _WORST_FIRST if state in present), WorkloadState.RUNNING)


_WORST_FIRST = (
    WorkloadState.FAILED,
    WorkloadState.DEGRADED,
    WorkloadState.DEPLOYING,
    WorkloadState.PENDING,
    WorkloadState.STOPPING,
)


def workload_state(desired: DesiredState, replicas: int, instances: Sequence[InstanceState]) -> WorkloadState:
    """The displayed state of a workload, from the displayed states of the instances that are not yet gone."""
    if desired is DesiredState.REMOVED:
        return WorkloadState.REMOVING
    if desired is DesiredState.STOPPED:
        busy = [state for state in instances if state not in (InstanceState.STOPPED, InstanceState.FAILED)]
        return WorkloadState.STOPPING if busy else WorkloadState.STOPPED
    running = sum(state is InstanceState.RUNNING for state in instances)
    ended = sum(state is InstanceState.STOPPED for state in instances)
    if running >= replicas:
        return WorkloadState.RUNNING
    if running + ended >= replicas:  # what ended well is not missed
        return WorkloadState.RUNNING if running else WorkloadState.STOPPED
    if running:
        return WorkloadState.DEGRADED
    if InstanceState.FAILED in instances:
        return WorkloadState.FAILED
    if any(state in (InstanceState.UNHEALTHY, InstanceState.LOST, InstanceState.HELD) for state in instances):
        return WorkloadState.DEGRADED
    if any(state in (InstanceState.PULLING, InstanceState.STARTING) for state in instances):
        return WorkloadState.DEPLOYING
    return WorkloadState.PENDING
