"""Where instances would go, without placing them: one after the other, as an update replaces them."""

from __future__ import annotations

from collections.abc import Iterable

from lattice.contracts.messages import (
    Leaving,
    PlacementRequest,
    SchedulableNode,
    TriedPlacement,
    TriedPlacements,
    TryPlacements,
)
from lattice.contracts.nouns import Amounts
from services.scheduler.placement import Decision, Placed, place


def try_placements(asked: TryPlacements, nodes: Iterable[SchedulableNode]) -> TriedPlacements:
    """Each finds the nodes as those before it left them; an old instance leaves before its new one comes, or once that has a place."""
    state = {node.node_id: node for node in nodes}
    tried = []
    for step in asked.steps:
        if asked.stop_first:
            _let_go(state, step.leaving)
        decision = place(step.request, state.values())
        tried.append(_tried(decision))
        if isinstance(decision, Placed):
            state[decision.node.node_id] = _with(decision.node, step.request)
            if not asked.stop_first:
                _let_go(state, step.leaving)
    return TriedPlacements(tried=tuple(tried))


def _tried(decision: Decision) -> TriedPlacement:
    placed = isinstance(decision, Placed)
    return TriedPlacement(
        slot=decision.request.slot,
        node_name=decision.node.name if isinstance(decision, Placed) else None,
        reason=decision.reason if isinstance(decision, Placed) else decision.summary,
        rejected=() if placed else decision.rejected,
    )


def _let_go(state: dict[str, SchedulableNode], leaving: Leaving | None) -> None:
    if leaving is not None and leaving.node_id in state:
        state[leaving.node_id] = _without(state[leaving.node_id], leaving)


def _with(node: SchedulableNode, request: PlacementRequest) -> SchedulableNode:
    return _moved(node, request.workload_id, request.reserve, request.document_bytes, by=1)


def _without(node: SchedulableNode, leaving: Leaving) -> SchedulableNode:
    return _moved(node, leaving.workload_id, leaving.reserve, leaving.document_bytes, by=-1)


def _moved(
    node: SchedulableNode, workload_id: str, reserve: Amounts, document_bytes: int, *, by: int
) -> SchedulableNode:
    reserved = Amounts(
        **{name: getattr(node.reserved, name) + by * getattr(reserve, name) for name in Amounts.model_fields}
    )
    count = node.workloads.get(workload_id, 0) + by
    others = {name: each for name, each in node.workloads.items() if name != workload_id}
    return node.model_copy(
        update={
            "reserved": reserved,
            "document_free_bytes": node.document_free_bytes - by * document_bytes,
            "workloads": others | ({workload_id: count} if count > 0 else {}),
        }
    )
