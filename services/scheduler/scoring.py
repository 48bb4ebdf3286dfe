"""Which of the nodes that fit: spread a workload first, then keep the load even, then go by id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lattice.contracts.messages import PlacementRequest
from services.scheduler.candidate import Candidate


@dataclass(frozen=True, slots=True)
class Choice:
    """A node, how many instances of the workload it already runs, and how full it will be (1 is full)."""

    candidate: Candidate
    instances: int
    load: float

    @property
    def score(self) -> float:
        """Lower is better: one more instance of the same workload outweighs any load."""
        return self.instances + self.load


def chosen_from_crowd(request: PlacementRequest, crowd: Iterable[Candidate]) -> Choice | None:
    """The best of nodes that all run the workload already."""
    choices = [
        Choice(one, one.instances.get(request.workload_id, 0), one.load_with(request.reserve))
        for one in crowd
    ]
    return min(choices, key=lambda c: (c.instances, c.load, c.candidate.node.node_id), default=None)


def said_of(choice: Choice, request: PlacementRequest, fitting: int) -> str:
    """Why this node: for people."""
    if fitting == 1:
        return f"the only node that fits; {choice.load:.0%} full with it"
    if choice.instances:
        others = f"fewest other instances of {request.workload_name} ({choice.instances})"
        return f"{others} of {fitting} nodes that fit; {choice.load:.0%} full with it"
    return (
        f"least full of {fitting} nodes that fit ({choice.load:.0%} with it), "
        f"no other instance of {request.workload_name} there"
    )
