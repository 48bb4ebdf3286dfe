"""Filters about what the owner of a node allows, and about the ports of the node that only one instance can have.  Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from lattice.contracts.messages import PlacementRequest
from lattice.contracts.owner_rules import why_not
from services.scheduler.candidate import Candidate
from services.scheduler.filtering import Group


class OwnerFilter:
    """The owner of the node allows the work there, now."""

    name = "owner_policy"

    def matters(self, request: PlacementRequest) -> bool:
        return True

    def check(self, request: PlacementRequest, candidate: Candidate) -> bool:
        return _owner_says(request, candidate) is None

    def explain(self, request: PlacementRequest, candidate: Candidate) -> str:
        return f"is not open to it: its owner {_owner_says(request, candidate)}"

    def summarise(self, request: PlacementRequest, rejected: Sequence[Candidate]) -> list[Group]:
        counts: dict[str, int] = defaultdict(int)
        for candidate in rejected:
            counts[_owner_says(request, candidate) or ""] += 1
        return [
            Group(count, f"is not open to it (its owner {said})", f"are not open to it (their owner {said})")
            for said, count in counts.items()
        ]


class HostPortFilter:
    """No instance on the node has a fixed host port that this one wants."""

    name = "host_port"

    def matters(self, request: PlacementRequest) -> bool:
        return bool(request.host_ports)

    def check(self, request: PlacementRequest, candidate: Candidate) -> bool:
        return not candidate.conflicts(request)

    def explain(self, request: PlacementRequest, candidate: Candidate) -> str:
        port = candidate.conflicts(request)[0]
        return f"has host port {port} taken by {candidate.host_ports[port]}"

    def summarise(self, request: PlacementRequest, rejected: Sequence[Candidate]) -> list[Group]:
        counts: dict[int, int] = defaultdict(int)
        for candidate in rejected:
            counts[candidate.conflicts(request)[0]] += 1
        return [
            Group(count, f"has host port {port} taken", f"have host port {port} taken")
            for port, count in counts.items()
        ]


def _owner_says(request: PlacementRequest, candidate: Candidate) -> str | None:
    node = candidate.node
    problem = why_not(node.policy, pool=node.pool, image=request.image, host_ports=request.host_ports)
    return problem.reason if problem else None
