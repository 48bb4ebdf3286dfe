"""Whether an instance may be made yet, as far as other workloads go.  Pure: the answer and its reason from what is seen of them.

Asked only before an instance is made.  What happens to the other workloads afterwards stops nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lattice.contracts.nouns import DesiredState, Health, Phase
from lattice.contracts.spec import Condition
from lattice.contracts.states import is_ready

_GOAL = {
    Condition.STARTED: "to be started",
    Condition.HEALTHY: "to be healthy",
    Condition.COMPLETED: "to complete",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An instance of the revision that the other workload runs."""

    phase: Phase
    health: Health = Health.UNKNOWN
    ended: bool = False
    reason: str = ""

    def has_met(self, condition: Condition) -> bool:
        """Whether it is so far."""
        completed = self.ended and self.phase is Phase.STOPPED
        match condition:
            case Condition.STARTED:
                return self.phase is Phase.RUNNING or completed
            case Condition.HEALTHY:
                return is_ready(self.phase, self.health)
            case Condition.COMPLETED:
                return completed


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """A workload that is waited for: how many instances are wanted, and those that are there."""

    replicas: int
    desired: DesiredState = DesiredState.RUNNING
    parts: Sequence[Part] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """The first workload that is not so far, and what is waited for, for people."""

    on: str
    reason: str


def first_wait(depends_on: Mapping[str, Condition], others: Mapping[str, Other]) -> Wait | None:
    """What is in the way of a new instance; None when nothing is."""
    for name, condition in sorted(depends_on.items()):
        other = others.get(name)
        met = 0 if other is None else sum(part.has_met(condition) for part in other.parts)
        if other is None or met < other.replicas:
            return Wait(name, f"waiting for {name} {_GOAL[condition]}{_trouble(condition, other, met)}")
    return None


def _trouble(condition: Condition, other: Other | None, met: int) -> str:
    """Why it may take long: said, so that nobody waits for what cannot come."""
    if other is None:
        return ", which is not there"
    if other.desired is not DesiredState.RUNNING:
        return f", which is {other.desired}"
    failed = [part.reason for part in other.parts if part.phase is Phase.FAILED]
    if failed:
        return f", which has failed{f': {failed[0]}' if failed[0] else ''}"
    if other.replicas > 1:
        return f" ({met} of {other.replicas})"
    return " with exit code 0" if condition is Condition.COMPLETED else ""
