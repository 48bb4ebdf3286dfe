"""Rules about the company that a workload keeps: near whom its instances must be, and near whom they must not.

Both are judged when an instance is placed, against where instances stand then; nothing that runs is moved for them.  "Apart" holds both ways: who
keeps apart from others is not joined by them later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from lattice.contracts.messages import PlacementRequest, PlacementRule
from services.scheduler.candidate import Candidate
from services.scheduler.filtering import Filter, Group
from services.scheduler.whereabouts import label_of


class AffinityFilter:
    """Where the workload must be with others, an instance of each is in the node's domain."""

    name = "affinity"

    def matters(self, request: PlacementRequest) -> bool:
        return must_be_near(request)

    def check(self, request: PlacementRequest, candidate: Candidate) -> bool:
        return self._missed(request, candidate) is None

    def explain(self, request: PlacementRequest, candidate: Candidate) -> str:
        rule = self._must_miss(request, candidate)
        label = label_of(rule.topology, candidate.node)
        where = "" if label is None else f" in its {rule.topology} {label}"
        return f"has no instance of {rule.workload_name}{where}{self._nowhere(rule, candidate)}"

    def summarise(self, request: PlacementRequest, rejected: Sequence[Candidate]) -> list[Group]:
        counts: dict[PlacementRule, int] = defaultdict(int)
        for candidate in rejected:
            counts[self._must_miss(request, candidate)] += 1
        return [self._group(rule, count, rejected[0]) for rule, count in counts.items()]

    def _group(self, rule: PlacementRule, count: int, any_of_them: Candidate) -> Group:
        where = "" if rule.topology == "node" else f" in the same {rule.topology}"
        none = f"no instance of {rule.workload_name}{where}{self._nowhere(rule, any_of_them)}"
        return Group(count, f"has {none}", f"have {none}")

    def _nowhere(self, rule: PlacementRule, candidate: Candidate) -> str:
        if rule.workload_id is None:
            return " (there is no workload of that name in the project)"
        return "" if candidate.whereabouts.anywhere(rule.workload_id) else " (it has no place yet)"

    def _must_miss(self, request: PlacementRequest, candidate: Candidate) -> PlacementRule:
        rule = self._missed(request, candidate)
        if rule is None:
            raise AssertionError("only asked of nodes that do not pass")
        return rule

    def _missed(self, request: PlacementRequest, candidate: Candidate) -> PlacementRule | None:
        for rule in request.affinity:
            if (
                rule.weight is None
                and not is_met(rule, candidate)
                and not _is_first(rule, request, candidate)
            ):
                return rule
        return None


class AntiAffinityFilter:
    """No instance of a workload that this one keeps apart from, or that keeps apart from this one, is in the node's domain."""

    name = "anti_affinity"

    def matters(self, request: PlacementRequest) -> bool:
        return any(rule.weight is None for rule in request.anti_affinity)

    def check(self, request: PlacementRequest, candidate: Candidate) -> bool:
        return not any(rule.weight is None and is_met(rule, candidate) for rule in request.anti_affinity)

    def explain(self, request: PlacementRequest, candidate: Candidate) -> str:
        rule = self._met(request, candidate)
        label = label_of(rule.topology, candidate.node)
        where = "" if label is None else f" in its {rule.topology} {label}"
        return f"has an instance of {self._of(rule, request)}{where}"

    def summarise(self, request: PlacementRequest, rejected: Sequence[Candidate]) -> list[Group]:
        counts: dict[PlacementRule, int] = defaultdict(int)
        for candidate in rejected:
            counts[self._met(request, candidate)] += 1
        groups = []
        for rule, count in counts.items():
            where = "" if rule.topology == "node" else f" in the same {rule.topology}"
            one = f"an instance of {self._of(rule, request)}{where}"
            groups.append(Group(count, f"has {one}", f"have {one}"))
        return groups

    def _met(self, request: PlacementRequest, candidate: Candidate) -> PlacementRule:
        return next(rule for rule in request.anti_affinity if rule.weight is None and is_met(rule, candidate))

    def _of(self, rule: PlacementRule, request: PlacementRequest) -> str:
        if rule.workload_id == request.workload_id:
            return f"{rule.workload_name} already"
        theirs = f", which keeps apart from {request.workload_name}" if rule.is_theirs else ""
        return f"{rule.workload_name}{theirs}"


def must_be_near(request: PlacementRequest) -> bool:
    """Whether a place depends on others having theirs."""
    return any(rule.weight is None for rule in request.affinity)


def is_met(rule: PlacementRule, candidate: Candidate) -> bool:
    """Whether an instance of the rule's workload is in the node's domain."""
    if rule.workload_id is None:
        return False
    return candidate.whereabouts.count(rule.workload_id, rule.topology, candidate.node) > 0


def _is_first(rule: PlacementRule, request: PlacementRequest, candidate: Candidate) -> bool:
    """A workload whose instances must be together has to begin somewhere."""
    itself = rule.workload_id == request.workload_id
    return itself and candidate.whereabouts.anywhere(request.workload_id) == 0


COMPANY_FILTERS: tuple[Filter, ...] = (AffinityFilter(), AntiAffinityFilter())
