"""Which of the nodes that fit: spread a workload first, then what it wishes for, then how full they are, then by id.

The order is strict and no sum of everything, so that it can be told and foreseen: no wish, however heavy, puts two instances together where
they could be apart (`spread: none` says that they may be), and no load outweighs a wish.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lattice.contracts.messages import PlacementRequest, SchedulableNode
from lattice.contracts.placement_spec import PlacementStrategy
from services.scheduler.affinity import is_met
from services.scheduler.candidate import Candidate
from services.scheduler.constraints import holds
from services.scheduler.whereabouts import label_of


@dataclass(frozen=True, slots=True)
class Choice:
    """A node, how many instances of the workload it and its domain already run, how full it will be (1 is full), and the weight of the wishes
    that it meets less that of those that it goes against."""

    candidate: Candidate
    instances: int
    load: float
    in_domain: int = 0
    wish: int = 0

    @property
    def score(self) -> float:
        """Lower is better: one more instance of the same workload outweighs any load.  For people; `ranked` decides."""
        return max(self.instances, self.in_domain) + self.load


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing that was wished for, in words, and whether a node has it."""

    text: str
    weight: int
    met: bool


def has_rules(request: PlacementRequest) -> bool:
    """Whether anything but the spreading over nodes and the load decides."""
    return (
        request.spread != "node"
        or request.strategy is not PlacementStrategy.SPREAD
        or bool(request.preferred or request.affinity or request.anti_affinity)
    )


def chosen_from_crowd(request: PlacementRequest, crowd: Iterable[Candidate]) -> Choice | None:
    """The best of nodes that all run the workload already."""
    choices = [
        Choice(one, one.instances.get(request.workload_id, 0), one.load_with(request.reserve))
        for one in crowd
    ]
    return min(choices, key=lambda c: (c.instances, c.load, c.candidate.node.node_id), default=None)


def chosen_by_rules(request: PlacementRequest, fitting: Iterable[Candidate]) -> Choice | None:
    """The best of the nodes that fit, by everything that the request says."""
    return min((_choice(request, one) for one in fitting), key=lambda c: ranked(request, c), default=None)


def ranked(request: PlacementRequest, choice: Choice) -> tuple[int, int, int, float, str]:
    """Where a node stands among others: the smallest is the best."""
    packed = request.strategy is PlacementStrategy.BINPACK
    together = 0 if request.spread == "none" else choice.instances
    load = -choice.load if packed else choice.load
    return (choice.in_domain, together, -choice.wish, load, choice.candidate.node.node_id)


def _choice(request: PlacementRequest, one: Candidate) -> Choice:
    over_label = request.spread.startswith("label.")
    return Choice(
        one,
        instances=one.instances.get(request.workload_id, 0),
        load=one.load_with(request.reserve),
        in_domain=one.whereabouts.count(request.workload_id, request.spread, one.node) if over_label else 0,
        wish=_wish(request, one),
    )


def _wish(request: PlacementRequest, one: Candidate) -> int:
    met = sum(each.weight for each in request.preferred if holds(each.constraint, one.node))
    met += sum(rule.weight for rule in request.affinity if rule.weight and is_met(rule, one))
    return met - sum(rule.weight for rule in request.anti_affinity if rule.weight and is_met(rule, one))


def wishes(request: PlacementRequest, one: Candidate) -> list[Wish]:
    """Everything that was wished for, and whether this node has it."""
    return [
        *(Wish(each.constraint, each.weight, holds(each.constraint, one.node)) for each in request.preferred),
        *(
            Wish(f"near {rule.workload_name}", rule.weight, is_met(rule, one))
            for rule in request.affinity
            if rule.weight
        ),
        *(
            Wish(f"apart from {rule.workload_name}", rule.weight, not is_met(rule, one))
            for rule in request.anti_affinity
            if rule.weight
        ),
    ]


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


def said_by_rules(choice: Choice, request: PlacementRequest, fitting: int) -> str:
    """Why this node, where rules decided: what was looked at, in the order in which it counts."""
    first = "the only node that fits" if fitting == 1 else f"best of {fitting} nodes that fit"
    full = (
        "fullest of the best" if request.strategy is PlacementStrategy.BINPACK else "least full of the best"
    )
    said = [
        first,
        *_said_of_spread(choice, request),
        *_said_of_wishes(wishes(request, choice.candidate)),
        f"{choice.load:.0%} full with it" if fitting == 1 else f"{full} ({choice.load:.0%} with it)",
    ]
    return "; ".join(said)


def _said_of_spread(choice: Choice, request: PlacementRequest) -> list[str]:
    if request.spread == "none":
        return []
    count = choice.instances if request.spread == "node" else choice.in_domain
    return [
        f"{count or 'no'} other of {request.workload_name} {_where(request.spread, choice.candidate.node)}"
    ]


def _where(spread: str, node: SchedulableNode) -> str:
    label = label_of(spread, node)
    return "there" if label is None else f"in {spread} {label}"


def _said_of_wishes(all_of_them: list[Wish]) -> list[str]:
    met = [f"{each.text} ({each.weight})" for each in all_of_them if each.met]
    unmet = [f"{each.text} ({each.weight})" for each in all_of_them if not each.met]
    return [
        *([f"as wished: {', '.join(met)}"] if met else []),
        *([f"not as wished: {', '.join(unmet)}"] if unmet else []),
    ]
