"""Which node takes all instances of a group: each has to pass every filter there, and together they have to find room.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lattice.contracts.messages import PlacementRequest, RejectedNode
from lattice.contracts.nouns import Amounts
from services.scheduler import explanation
from services.scheduler.candidate import Candidate
from services.scheduler.filtering import Filter
from services.scheduler.filters import FILTERS, failed


@dataclass(frozen=True, slots=True)
class GroupChoice:
    """The node for all of them, how full it will be (1 is full), and why this one."""

    candidate: Candidate
    load: float
    reason: str
    rejected: tuple[RejectedNode, ...]


@dataclass(frozen=True, slots=True)
class NoChoice:
    """No node takes all of them now, and why."""

    summary: str
    rejected: tuple[RejectedNode, ...]


def choose(members: Sequence[PlacementRequest], candidates: Iterable[Candidate]) -> GroupChoice | NoChoice:
    """The least full of the nodes that take all members."""
    whole = _whole(members)
    fitting: list[Candidate] = []
    refusals: list[tuple[PlacementRequest, tuple[Candidate, Filter]]] = []
    for candidate in candidates:
        refusal = _refusal(members, whole, candidate)
        if refusal is None:
            fitting.append(candidate)
        else:
            refusals.append((refusal[0], (candidate, refusal[1])))
    rejected = _rejected(refusals)
    name = members[0].group_name
    best = min(
        fitting, key=lambda each: (each.load_with(whole.reserve), each.node.node_id), default=None
    )  # fmt: skip
    if best is None:
        return NoChoice(explanation.summary_of_all(name, refusals), rejected)
    load = best.load_with(whole.reserve)
    which = "the only node that fits" if len(fitting) == 1 else f"least full of {len(fitting)} nodes that fit"
    return GroupChoice(best, load, f"{which} all of {name}; {load:.0%} full with it", rejected)


def _whole(members: Sequence[PlacementRequest]) -> PlacementRequest:
    """The group as if it were one instance, as far as room is concerned."""
    reserve = Amounts(
        cpu_millis=sum(each.reserve.cpu_millis for each in members),
        memory_bytes=sum(each.reserve.memory_bytes for each in members),
        disk_bytes=sum(each.reserve.disk_bytes for each in members),
    )
    document_bytes = sum(each.document_bytes for each in members)
    return members[0].model_copy(update={"reserve": reserve, "document_bytes": document_bytes})


def _refusal(
    members: Sequence[PlacementRequest], whole: PlacementRequest, candidate: Candidate
) -> tuple[PlacementRequest, Filter] | None:
    """The first filter that the node does not pass, and for whom."""
    for request in (*members, whole):
        reason = failed(request, candidate, FILTERS)
        if reason is not None:
            return request, reason
    return None


def _rejected(
    refusals: Sequence[tuple[PlacementRequest, tuple[Candidate, Filter]]],
) -> tuple[RejectedNode, ...]:
    told = (explanation.rejected_nodes(request, [rejection]) for request, rejection in refusals)
    return tuple(node for nodes in told for node in nodes)[: explanation.MOST_LISTED]
