"""What a filter of the scheduler is: it says whether it matters, whether a node passes, and why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lattice.contracts.messages import PlacementRequest
from services.scheduler.candidate import Candidate


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that fail for the same reason, told of one node and of several."""

    count: int
    of_one: str
    of_many: str

    def told(self) -> str:
        """The reason in the right number."""
        return self.of_one if self.count == 1 else self.of_many


class Filter(Protocol):
    """A rule; without state, so that one object serves every request."""

    @property
    def name(self) -> str:
        """What `RejectedNode.filter` says."""

    def matters(self, request: PlacementRequest) -> bool:
        """Whether any node could fail."""

    def check(self, request: PlacementRequest, candidate: Candidate) -> bool:
        """Whether this node passes."""

    def explain(self, request: PlacementRequest, candidate: Candidate) -> str:
        """Why this node does not pass: follows the node's name in a sentence."""

    def summarise(self, request: PlacementRequest, rejected: Sequence[Candidate]) -> list[Group]:
        """Why these nodes do not pass."""
