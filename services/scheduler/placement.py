"""Where instances go: a plain function of requests and nodes.  No clock, no chance, nothing read from elsewhere.

An instance goes to a node that passes every filter; among those to one that runs the fewest instances of the same workload, then to the
one that is least full afterwards, then to the first by id.  Rules of the request change that order (`scoring`).  Whoever cannot be placed gets
the reason.

Instances of one group (an app) go to one node that takes all of them, or none of them goes anywhere; see `groups`.

Requests of one batch that ask for the same are served from one heap, so a decision costs O(log nodes) and not a look at each node: room
only shrinks within a batch, so an entry that is out of date can only be too good, and is put right when it comes up.  Requests with rules look
at each node that has room.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace

from lattice.contracts.messages import PlacementRequest, RejectedNode, SchedulableNode
from services.scheduler import explanation
from services.scheduler.affinity import COMPANY_FILTERS, must_be_near
from services.scheduler.candidate import Candidate, candidates_of
from services.scheduler.filters import FILTERS, LASTING_FILTERS, failed
from services.scheduler.groups import NoChoice, choose
from services.scheduler.scoring import (
    Choice,
    chosen_by_rules,
    chosen_from_crowd,
    has_rules,
    said_by_rules,
    said_of,
)


@dataclass(frozen=True, slots=True)
class Placed:
    """The node for an instance, as it was seen, and why."""

    request: PlacementRequest
    node: SchedulableNode
    score: float
    reason: str
    rejected: tuple[RejectedNode, ...] = ()


@dataclass(frozen=True, slots=True)
class Unplaceable:
    """No node can take the instance now, and why."""

    request: PlacementRequest
    summary: str
    rejected: tuple[RejectedNode, ...] = ()


Decision = Placed | Unplaceable


def place(request: PlacementRequest, nodes: Iterable[SchedulableNode]) -> Decision:
    """Where one instance goes."""
    return place_all([request], nodes)[0]


def place_all(requests: Iterable[PlacementRequest], nodes: Iterable[SchedulableNode]) -> list[Decision]:
    """Where instances go, each decision knowing of those before it, `by_turn`; told in the order of their ids."""
    batch = sorted(requests, key=by_turn)
    fleet = _fleet(nodes, {request.workload_id for request in batch})
    decided = (decision for members in _together(batch) for decision in _decide(fleet, members))
    decisions = sorted(decided, key=lambda decision: decision.request.instance_id)
    while any(isinstance(each, Placed) for each in decisions) and _try_again(fleet, decisions):
        pass
    return decisions


def by_turn(request: PlacementRequest) -> tuple[bool, str]:
    """Sorts requests into the order in which they choose: what can run on one node only comes before all that may have a choice, else a
    workload that is started again could lose the room beside its data to another; then the oldest."""
    has_choice = request.only_nodes is None or len(request.only_nodes) != 1
    return has_choice, request.instance_id


def _together(batch: Sequence[PlacementRequest]) -> Iterable[list[PlacementRequest]]:
    """Each request by itself, but those of one group at once, when its first is due."""
    groups: dict[str, list[PlacementRequest]] = {}
    for request in batch:
        if request.group:
            groups.setdefault(request.group, []).append(request)
    for request in batch:
        if not request.group:
            yield [request]
        elif groups[request.group][0] is request:
            yield groups[request.group]


def _decide(fleet: _Fleet, members: Sequence[PlacementRequest]) -> list[Decision]:
    """A group of one is asked as a group too, so that its reason says so."""
    if not members[0].group:
        return [fleet.decide(members[0])]
    found = choose(members, fleet.candidates.values())
    if isinstance(found, NoChoice):
        return [Unplaceable(each, found.summary, found.rejected) for each in members]
    for each in members:
        fleet.put(each, found.candidate)
    return [Placed(each, found.candidate.node, found.load, found.reason, found.rejected) for each in members]


def _try_again(fleet: _Fleet, decisions: list[Decision]) -> bool:
    """Who has to be near others may come before them in the batch.  Returns whether anybody got a place."""
    placed = False
    for number, decision in enumerate(decisions):
        waits = isinstance(decision, Unplaceable) and must_be_near(decision.request)
        if waits and not decision.request.group:
            decisions[number] = again = fleet.decide(decision.request)
            placed = placed or isinstance(again, Placed)
    return placed


@dataclass(slots=True)
class _Offer:
    """Everything that the requests of one kind share: the nodes that can take them, best first, and why the others cannot."""

    heap: list[tuple[float, str]]
    rejected: tuple[RejectedNode, ...]
    fitting: int
    refusal: Unplaceable | None = None


@dataclass(slots=True)
class _Fleet:
    candidates: dict[str, Candidate]
    homes: dict[str, set[str]]
    offers: dict[object, _Offer] = field(default_factory=dict)

    def decide(self, request: PlacementRequest) -> Decision:
        offer = self._offer(request)
        return self._by_rules(request, offer) if has_rules(request) else self._by_load(request, offer)

    def _by_rules(self, request: PlacementRequest, offer: _Offer) -> Decision:
        """Looks at each node: where others stand changes with every placement, and may make a node better."""
        rules = [one for one in COMPANY_FILTERS if one.matters(request)]
        fitting: list[Candidate] = []
        rejections: list[explanation.Rejection] = []
        for one in (self.candidates[node_id] for _, node_id in offer.heap):
            if not one.has_room_for(request):
                continue
            broken = failed(request, one, rules)
            if broken is None:
                fitting.append(one)
            elif len(rejections) < explanation.MOST_LISTED:
                rejections.append((one, broken))
        choice = chosen_by_rules(request, fitting)
        if choice is None:
            return self._explained(request)
        self.put(request, choice.candidate)
        rejected = (*offer.rejected, *explanation.rejected_nodes(request, rejections))
        why = said_by_rules(choice, request, len(fitting))
        return Placed(request, choice.candidate.node, choice.score, why, rejected[: explanation.MOST_LISTED])

    def put(self, request: PlacementRequest, candidate: Candidate) -> None:
        """Count an instance where it was decided to go."""
        candidate.take(request)
        self.homes[request.workload_id].add(candidate.node.node_id)

    def _by_load(self, request: PlacementRequest, offer: _Offer) -> Decision:
        choice = self._choose(request, offer)
        if choice is None:
            return self._refuse(request, offer)
        self.put(request, choice.candidate)
        reason = said_of(choice, request, offer.fitting)
        return Placed(request, choice.candidate.node, choice.score, reason, offer.rejected)

    def _choose(self, request: PlacementRequest, offer: _Offer) -> Choice | None:
        """A node without an instance of the workload, else one with the fewest of them."""
        home = self.homes[request.workload_id]
        aside, choice = [], None
        while choice is None and (best := self._best(request, offer)) is not None:
            load, node_id = best
            if node_id in home:
                aside.append(heappop(offer.heap))
            else:
                choice = Choice(self.candidates[node_id], instances=0, load=load)
        for entry in aside:
            heappush(offer.heap, entry)
        if choice is None:
            choice = chosen_from_crowd(request, [self.candidates[node_id] for _, node_id in aside])
        return choice

    def _best(self, request: PlacementRequest, offer: _Offer) -> tuple[float, str] | None:
        """The top of the heap once it is true; what does not fit any more leaves the heap for good."""
        heap = offer.heap
        while heap:
            load, node_id = heap[0]
            now = self.candidates[node_id].load_with(request.reserve)
            if not self.candidates[node_id].has_room_for(request):
                heappop(heap)
            elif now == load:
                return heap[0]
            else:
                heapreplace(heap, (now, node_id))
        return None

    def _offer(self, request: PlacementRequest) -> _Offer:
        kind = _kind(request)
        if kind not in self.offers:
            self.offers[kind] = self._new_offer(request)
        return self.offers[kind]

    def _new_offer(self, request: PlacementRequest) -> _Offer:
        filters = [one for one in LASTING_FILTERS if one.matters(request)]
        heap, rejections = [], []
        for node_id, one in self.candidates.items():
            reason = failed(request, one, filters)
            if reason is None:
                heap.append((one.load_with(request.reserve), node_id))
            else:
                rejections.append((one, reason))
        heapify(heap)
        return _Offer(heap, explanation.rejected_nodes(request, rejections), len(heap))

    def _refuse(self, request: PlacementRequest, offer: _Offer) -> Unplaceable:
        """Room only shrinks, so what was said to the first of a kind holds for the others."""
        if offer.refusal is None:
            offer.refusal = self._explained(request)
        return Unplaceable(request, offer.refusal.summary, offer.refusal.rejected)

    def _explained(self, request: PlacementRequest) -> Unplaceable:
        rejections = self._rejections(request)
        return Unplaceable(
            request,
            explanation.summary(request, rejections),
            explanation.rejected_nodes(request, rejections),
        )

    def _rejections(self, request: PlacementRequest) -> list[explanation.Rejection]:
        failures = ((one, failed(request, one, FILTERS)) for one in self.candidates.values())
        return [(one, reason) for one, reason in failures if reason is not None]


def _fleet(nodes: Iterable[SchedulableNode], workloads: set[str]) -> _Fleet:
    candidates = candidates_of(nodes)
    homes: dict[str, set[str]] = defaultdict(set)
    for node_id, one in candidates.items():
        for workload_id in one.instances.keys() & workloads:
            homes[workload_id].add(node_id)
    return _Fleet(candidates, homes)


def _kind(request: PlacementRequest) -> Sequence[object]:
    """Everything of a request that lasting filters look at."""
    need = request.reserve
    return (
        need.cpu_millis,
        need.memory_bytes,
        need.disk_bytes,
        request.document_bytes,
        request.pools,
        request.constraints,
        request.only_nodes,
        request.only_nodes_reason,
        request.image_id,
        tuple(sorted(request.avoid.items())),
        request.image,
        request.host_ports,
    )
