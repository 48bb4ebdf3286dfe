"""Why nodes were passed over, in words: per node, and in one sentence over all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice

from lattice.contracts.messages import PlacementRequest, RejectedNode
from services.scheduler.candidate import Candidate
from services.scheduler.filtering import Filter, Group
from services.scheduler.filters import FILTERS

# A decision is a message and a row: of many rejected nodes only so many are listed, the sentence counts them all.
MOST_LISTED = 20

NO_NODES = "no node fits: there is no node yet; `lattice node token` lets one join"

Rejection = tuple[Candidate, Filter]


def rejected_nodes(request: PlacementRequest, rejections: Iterable[Rejection]) -> tuple[RejectedNode, ...]:
    """The first of them, each with its own reason."""
    return tuple(
        RejectedNode(
            node_id=candidate.node.node_id,
            node_name=candidate.node.name,
            filter=one.name,
            reason=f"{candidate.node.name} {one.explain(request, candidate)}",
        )
        for candidate, one in islice(rejections, MOST_LISTED)
    )


def summary(request: PlacementRequest, rejections: Sequence[Rejection]) -> str:
    """`no node fits: 2 nodes lack memory (needs 8 GiB, most has 3.1 GiB free), 1 is cordoned`: the commonest reason first."""
    return f"no node fits: {_sentence(_groups(request, rejections))}" if rejections else NO_NODES


def summary_of_all(group_name: str, rejections: Sequence[tuple[PlacementRequest, Rejection]]) -> str:
    """The same of instances that go to one node together; each rejection with the request that it speaks of."""
    if not rejections:
        return NO_NODES
    groups = []
    for request in {id(request): request for request, _ in rejections}.values():
        groups += _groups(request, [rejection for other, rejection in rejections if other is request])
    return f"no node fits all of {group_name}: {_sentence(groups)}"


def _sentence(groups: Sequence[Group]) -> str:
    first, *others = sorted(groups, key=lambda group: -group.count)
    noun = "node" if first.count == 1 else "nodes"
    told = [f"{first.count} {noun} {first.told()}", *(f"{group.count} {group.told()}" for group in others)]
    return ", ".join(told)


def _groups(request: PlacementRequest, rejections: Sequence[Rejection]) -> list[Group]:
    by_filter: dict[str, list[Candidate]] = defaultdict(list)
    for candidate, one in rejections:
        by_filter[one.name].append(candidate)
    return [
        group
        for one in FILTERS
        if one.name in by_filter
        for group in one.summarise(request, by_filter[one.name])
    ]
