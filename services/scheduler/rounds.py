"""One round: load what wants a place, decide, let the registry commit; place the losers again on the nodes as they are now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from loguru import logger

from lattice.contracts.catalogue import COMMIT_PLACEMENTS
from lattice.contracts.messages import (
    CommitPlacements,
    Placement,
    PlacementRequest,
    PlacementsCommitted,
    SchedulableNode,
    UnplaceableInstance,
)
from lattice.errors import Conflict, LatticeError
from lattice.messaging import Bus
from services.scheduler import metrics
from services.scheduler.affinity import must_be_near
from services.scheduler.placement import Decision, Placed, by_turn, place_all
from services.scheduler.scoring import has_rules
from services.scheduler.sight import Sight

# A commit is one message of at most 1 MiB; a placement takes up to 3 KiB of it.
BATCH_SIZE = 256
# A request with rules is held against each node, which takes some 60 ms at 10,000 nodes: so few that the lease is renewed in time meanwhile.
BATCH_SIZE_WITH_RULES = 8
# Somebody else keeps changing the nodes: leave the rest to the next round, which looks at everything anew.
MOST_TRIES = 5


class SteppedDown(LatticeError):
    """Another scheduler has a newer term: this one does not lead any more."""


class Rounds:
    """The rounds of one term."""

    def __init__(self, bus: Bus, term: int) -> None:
        self._bus = bus
        self._term = term
        self.sight = Sight(bus)
        self.left_waiting = False
        self.left_wanting_company = False

    async def once(self, workload_ids: frozenset[str] | None) -> None:
        """Place what wants a place, of these workloads or (None) of all.

        Raises SteppedDown when the term is over, Temporary when the registry is away.
        """
        left_before = self.left_waiting and workload_ids is not None
        self.left_waiting = True  # until we know better: what happens during a round may make room, too
        if workload_ids is None:
            self.left_wanting_company = False
        with metrics.ROUND_SECONDS.time():
            unplaced = await self._round(workload_ids)
        self.left_waiting = left_before or unplaced > 0
        if workload_ids is None:
            metrics.WAITING.set(unplaced)

    async def _round(self, workload_ids: frozenset[str] | None) -> int:
        """Returns how many have no place afterwards."""
        snapshot = await self.sight.look(workload_ids)
        if snapshot.term != self._term:
            raise SteppedDown(f"term {self._term} is over, {snapshot.term} has begun")
        unplaced = 0
        for batch in _batches(snapshot.wanted):
            unplaced += await self._place(batch, self.sight.nodes)
        return unplaced

    async def _place(self, wanted: Sequence[PlacementRequest], nodes: dict[str, SchedulableNode]) -> int:
        """Place these; `nodes` becomes what they are afterwards.  Returns how many have no place."""
        waiting = 0
        for _ in range(MOST_TRIES):
            with metrics.PLACE_SECONDS.time():
                decisions = place_all(wanted, nodes.values())
            answer = await self._commit(decisions)
            nodes.update((node.node_id, _with_images(node, nodes[node.node_id])) for node in answer.nodes)
            refused = {refusal.instance_id for refusal in answer.refused}
            unplaced = [decision.request for decision in decisions if not isinstance(decision, Placed)]
            waiting += len(unplaced)
            self.left_wanting_company |= any(must_be_near(request) for request in unplaced)
            wanted = [request for request in wanted if request.instance_id in refused]
            if not wanted:
                return waiting
            logger.info("{} of {} placements were refused: again", len(wanted), len(decisions))
        return waiting + len(wanted)

    async def _commit(self, decisions: Sequence[Decision]) -> PlacementsCommitted:
        placed = [decision for decision in decisions if isinstance(decision, Placed)]
        others = [decision for decision in decisions if not isinstance(decision, Placed)]
        request = CommitPlacements(
            term=self._term,
            placements=tuple(_placement(decision) for decision in placed),
            unplaceable=tuple(
                UnplaceableInstance(
                    instance_id=decision.request.instance_id,
                    workload_id=decision.request.workload_id,
                    summary=decision.summary,
                    rejected=decision.rejected,
                )
                for decision in others
            ),
        )
        try:
            answer = await self._bus.ask(COMMIT_PLACEMENTS, request)
        except Conflict as error:
            raise SteppedDown(error.detail) from error
        metrics.count(answer, (decision.rejected for decision in others))
        return answer


def _with_images(fresh: SchedulableNode, known: SchedulableNode) -> SchedulableNode:
    """A commit does not tell images again."""
    return fresh.model_copy(update={"image_ids": known.image_ids})


def _placement(decision: Placed) -> Placement:
    request = decision.request
    return Placement(
        instance_id=request.instance_id,
        workload_id=request.workload_id,
        workload_generation=request.workload_generation,
        node_id=decision.node.node_id,
        placement_version=decision.node.placement_version,
        score=round(decision.score, 4),
        reason=decision.reason,
        rejected=decision.rejected,
    )


def _batches(wanted: Iterable[PlacementRequest]) -> Iterator[list[PlacementRequest]]:
    """Those without rules first: others may want to be near them.  A group is decided at once, so it is in one batch, whatever its size."""
    parts = _together(sorted(wanted, key=by_turn))
    for size, ruled in ((BATCH_SIZE, False), (BATCH_SIZE_WITH_RULES, True)):
        batch: list[PlacementRequest] = []
        for part in parts:
            if any(map(has_rules, part)) is not ruled:
                continue
            if batch and len(batch) + len(part) > size:
                yield batch
                batch = []
            batch = [*batch, *part]
        if batch:
            yield batch


def _together(ordered: Iterable[PlacementRequest]) -> list[list[PlacementRequest]]:
    """Each request by itself, but those of one group together, when its first is due."""
    parts: list[list[PlacementRequest]] = []
    groups: dict[str, list[PlacementRequest]] = {}
    for request in ordered:
        if request.group in groups:
            groups[request.group].append(request)
            continue
        parts.append([request])
        if request.group:
            groups[request.group] = parts[-1]
    return parts
