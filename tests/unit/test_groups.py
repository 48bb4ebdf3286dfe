"""Instances that go to one node together, or nowhere."""

from __future__ import annotations

from typing import Any

from lattice.contracts.messages import PlacementRequest
from services.scheduler.placement import Placed, Unplaceable, place_all
from tests.fixtures.scheduling import a_node, a_request, amounts


def member(number: int, **changes: Any) -> PlacementRequest:
    """An instance of the app `shop`, each of a workload of its own."""
    own = {"workload_id": f"wl-{number}", "group": "ap-1", "group_name": "app shop"}
    return a_request(f"in-{number}", **own | changes)


def test_a_group_goes_to_the_least_full_node_that_takes_all_of_it() -> None:
    small = a_node("nd-a", capacity=amounts(cpu=4, memory=2.5, disk=100))
    full = a_node("nd-b", reserved=amounts(cpu=2, memory=4))
    free = a_node("nd-c", reserved=amounts(cpu=1, memory=1))
    decisions = place_all([member(1), member(2), member(3)], [small, full, free])
    assert [d.node.node_id for d in decisions if isinstance(d, Placed)] == ["nd-c"] * 3
    assert {d.reason for d in decisions if isinstance(d, Placed)} == {
        "least full of 2 nodes that fit all of app shop; 62% full with it"
    }


def test_none_of_a_group_is_placed_where_only_a_part_of_it_fits() -> None:
    nodes = [a_node("nd-a", capacity=amounts(cpu=4, memory=2.5)), a_node("nd-b", state="cordoned")]
    decisions = place_all([member(1), member(2), member(3), a_request("in-9")], nodes)
    assert [type(d) for d in decisions] == [Unplaceable] * 3 + [Placed]
    assert isinstance(decisions[0], Unplaceable)
    assert decisions[0].summary == (
        "no node fits all of app shop: 1 node lacks memory (needs 3 GiB, most has 2.5 GiB free), 1 is cordoned"
    )
    assert [each.node_name for each in decisions[0].rejected] == ["a", "b"]


def test_each_of_a_group_has_a_say_in_the_node() -> None:
    nodes = [a_node("nd-a", labels={"disk": "ssd"}), a_node("nd-b"), a_node("nd-c", labels={"disk": "ssd"})]
    group = [member(1, constraints=("label.disk == ssd",)), member(2, only_nodes=("nd-b", "nd-c"))]
    assert {d.node.node_id for d in place_all(group, nodes) if isinstance(d, Placed)} == {"nd-c"}
    (first, _) = place_all(group, nodes[:2])
    assert isinstance(first, Unplaceable)
    assert first.summary == (
        "no node fits all of app shop: 1 node is not where it has to run, 1 does not meet 'label.disk == ssd'"
    )


def test_what_a_group_takes_is_missing_for_those_after_it() -> None:
    node = a_node("nd-a", capacity=amounts(cpu=4, memory=3.5))
    decisions = place_all([member(1), member(3), a_request("in-2"), a_request("in-4")], [node])
    assert [isinstance(d, Placed) for d in decisions] == [True, True, True, False]


def test_two_groups_are_two_decisions() -> None:
    nodes = [a_node("nd-a"), a_node("nd-b")]
    groups = [member(1), member(2), member(3, group="ap-2"), member(4, group="ap-2")]
    placed = [d.node.node_id for d in place_all(groups, nodes) if isinstance(d, Placed)]
    assert placed == ["nd-a", "nd-a", "nd-b", "nd-b"]
