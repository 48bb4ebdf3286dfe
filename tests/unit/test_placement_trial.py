"""Where an update's instances would go: each finds the nodes as those before it leave them."""

from __future__ import annotations

from lattice.contracts.messages import Leaving, SchedulableNode, TrialStep, TryPlacements
from services.scheduler.trial import try_placements
from tests.fixtures.scheduling import a_node, a_request, amounts

HALF = amounts(cpu=2)


def step(slot: int, node_id: str | None) -> TrialStep:
    leaving = None if node_id is None else Leaving(workload_id="wl-1", node_id=node_id, reserve=HALF)
    return TrialStep(request=a_request(f"in-{slot}", slot=slot, reserve=HALF), leaving=leaving)


def full(*names: str) -> list[SchedulableNode]:
    """Nodes that one old instance and something else fill."""
    return [a_node(f"nd-{name}", reserved=amounts(cpu=4), workloads={"wl-1": 1}) for name in names]


def names(asked: TryPlacements, nodes: list[SchedulableNode]) -> list[str | None]:
    return [each.node_name for each in try_placements(asked, nodes).tried]


def test_stop_first_uses_the_room_of_the_old_one_and_start_first_needs_room_beside_it() -> None:
    steps = (step(0, "nd-a"), step(1, "nd-b"))
    assert names(TryPlacements(steps=steps, stop_first=True), full("a", "b")) == ["a", "b"]
    refused = try_placements(TryPlacements(steps=steps), full("a", "b")).tried
    assert [each.node_name for each in refused] == [None, None]
    assert refused[0].reason == "no node fits: 2 nodes lack cpu (needs 2 cores, most has 0 cores free)"
    assert [each.node_name for each in refused[0].rejected] == ["a", "b"]


def test_start_first_frees_the_room_of_each_old_one_for_the_next() -> None:
    nodes = [*full("a", "b"), a_node("nd-c", reserved=amounts(cpu=2))]
    assert names(TryPlacements(steps=(step(0, "nd-a"), step(1, "nd-b"))), nodes) == ["c", "a"]


def test_new_instances_are_spread_as_they_would_be() -> None:
    steps = (step(0, None), step(1, None), step(2, None))
    assert names(TryPlacements(steps=steps), [a_node("nd-a"), a_node("nd-b")]) == ["a", "b", "a"]
