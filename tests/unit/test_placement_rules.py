"""Rules of placement: required ones are never broken, wishes decide as they are weighed, and it is said which did."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from lattice.contracts.messages import PlacementRequest, PlacementRule, SchedulableNode
from lattice.contracts.nouns import Amounts
from lattice.contracts.placement_spec import PlacementStrategy, PreferredConstraint
from services.scheduler.placement import Decision, Placed, Unplaceable, place, place_all
from services.scheduler.whereabouts import domain_of
from tests.fixtures.scheduling import a_node, a_request, amounts, rule

WORKLOADS = ("wl-a", "wl-b", "wl-c")
TOPOLOGIES = ("node", "label.zone")

nodes_in_zones = st.builds(
    a_node,
    node_id=st.integers(0, 99).map(lambda n: f"nd-{n:02}"),
    state=st.sampled_from(["ready", "ready", "ready", "cordoned"]),
    labels=st.sampled_from([{}, {"zone": "home"}, {"zone": "office"}, {"zone": "home", "disk": "ssd"}]),
    capacity=st.just(Amounts(cpu_millis=4000, memory_bytes=8000)),
    reserved=st.builds(Amounts, cpu_millis=st.integers(0, 4000)),
    workloads=st.dictionaries(st.sampled_from(WORKLOADS), st.integers(1, 2), max_size=2),
)
fleets = st.lists(nodes_in_zones, max_size=8, unique_by=lambda node: node.node_id)
weights = st.one_of(st.none(), st.integers(1, 100))
rules = st.lists(
    st.builds(rule, st.sampled_from("abc"), st.sampled_from(TOPOLOGIES), weight=weights), max_size=2
).map(tuple)
wishes = st.lists(
    st.builds(
        PreferredConstraint,
        constraint=st.sampled_from(["label.disk == ssd", "label.zone != home"]),
        weight=st.integers(1, 99),
    ),
    max_size=2,
).map(tuple)
ruled_requests = st.builds(
    a_request,
    instance_id=st.integers(0, 999).map(lambda n: f"in-{n:03}"),
    workload_id=st.sampled_from(WORKLOADS),
    reserve=st.builds(Amounts, cpu_millis=st.integers(0, 2000)),
    spread=st.sampled_from(["node", "label.zone", "none"]),
    strategy=st.sampled_from(PlacementStrategy),
    preferred=wishes,
    affinity=rules,
    anti_affinity=rules,
)
batches = st.lists(ruled_requests, max_size=8, unique_by=lambda request: request.instance_id)


def with_instance(node: SchedulableNode, request: PlacementRequest) -> SchedulableNode:
    cpu_millis = node.reserved.cpu_millis + request.reserve.cpu_millis
    count = node.workloads.get(request.workload_id, 0) + 1
    workloads = node.workloads | {request.workload_id: count}
    return node.model_copy(update={"reserved": Amounts(cpu_millis=cpu_millis), "workloads": workloads})


def together(one: PlacementRule, node: SchedulableNode, nodes: Sequence[SchedulableNode]) -> bool:
    domain = domain_of(one.topology, node)
    return any(one.workload_id in at.workloads for at in nodes if domain_of(one.topology, at) == domain)


@given(batches, fleets)
def test_a_required_rule_is_never_broken(
    requests: list[PlacementRequest], nodes: list[SchedulableNode]
) -> None:
    """Each is placed where those before it stand by then; the rules of a request hold of its node at that moment."""
    state = {node.node_id: node for node in nodes}
    for request in requests:
        decision = place(request, state.values())
        if isinstance(decision, Unplaceable):
            continue
        there, everybody = decision.node, tuple(state.values())
        for one in request.affinity:
            begins = one.workload_id == request.workload_id and not any(
                one.workload_id in node.workloads for node in everybody
            )
            assert one.weight is not None or begins or together(one, there, everybody)
        for one in request.anti_affinity:
            assert one.weight is not None or not together(one, there, everybody)
        state[there.node_id] = with_instance(there, request)


@given(st.integers(1, 6), st.sampled_from(TOPOLOGIES), fleets)
def test_in_one_batch_no_two_share_what_they_must_not(
    count: int, topology: str, nodes: list[SchedulableNode]
) -> None:
    itself = PlacementRule(workload_name="orders", workload_id="wl-1", topology=topology)
    decisions = place_all(replicas(count, anti_affinity=(itself,)), nodes)
    taken = [domain_of(topology, each.node) for each in decisions if isinstance(each, Placed)]
    assert len(set(taken)) == len(taken)


@given(batches, fleets)
def test_who_has_no_place_could_have_none(
    requests: list[PlacementRequest], nodes: list[SchedulableNode]
) -> None:
    for request in requests:
        decision = place(request, nodes)
        if isinstance(decision, Unplaceable):
            assert decision.summary.startswith("no node fits: ")
            assert len(decision.rejected) == len(nodes)


@given(batches, fleets, st.integers(0))
def test_the_order_of_the_arguments_decides_nothing(
    requests: list[PlacementRequest], nodes: list[SchedulableNode], seed: int
) -> None:
    shuffled = random.Random(seed)
    first = place_all(requests, nodes)
    assert place_all(shuffled.sample(requests, len(requests)), shuffled.sample(nodes, len(nodes))) == first


@given(ruled_requests, fleets, st.data())
def test_a_heavier_wish_never_loses_a_node_that_meets_it(
    request_: PlacementRequest, nodes: list[SchedulableNode], data: st.DataObject
) -> None:
    """Raising one wish's weight keeps the chosen node if it meets the wish, and otherwise can only lead to one that does."""
    if not request_.preferred:
        return
    number = data.draw(st.integers(0, len(request_.preferred) - 1))
    wish = request_.preferred[number]
    heavier = wish.model_copy(update={"weight": data.draw(st.integers(wish.weight, 100))})
    changed = tuple(heavier if n == number else each for n, each in enumerate(request_.preferred))
    before = place(request_, nodes)
    after = place(request_.model_copy(update={"preferred": changed}), nodes)
    assert isinstance(before, Placed) == isinstance(after, Placed)
    if isinstance(before, Placed) and isinstance(after, Placed):
        assert after.node == before.node or meets(wish, after.node)
        assert after.node == before.node or not meets(wish, before.node)


def meets(wish: PreferredConstraint, node: SchedulableNode) -> bool:
    is_ssd, at_home = node.labels.get("disk") == "ssd", node.labels.get("zone") == "home"
    return is_ssd if "ssd" in wish.constraint else not at_home


# --- one by one --------------------------------------------------------------------------------------------


def zones(*names: str) -> list[SchedulableNode]:
    return [a_node(f"nd-{n}", labels={"zone": zone}) for n, zone in enumerate(names)]


def replicas(count: int, **changes: object) -> list[PlacementRequest]:
    return [a_request(f"in-{n:03}", slot=n, **changes) for n in range(count)]


def names(decisions: Sequence[Decision]) -> list[str]:
    return [each.node.name if isinstance(each, Placed) else "-" for each in decisions]


def test_spreading_over_a_label_comes_before_spreading_over_nodes() -> None:
    nodes = zones("home", "home", "home", "office")
    assert names(place_all(replicas(4, spread="label.zone"), nodes)) == ["0", "3", "1", "3"]
    assert names(place_all(replicas(4), nodes)) == ["0", "1", "2", "3"]


def test_without_spreading_the_load_alone_decides() -> None:
    nodes = [a_node("nd-a", workloads={"wl-1": 2}), a_node("nd-b", reserved=amounts(memory=6))]
    assert names(place_all(replicas(1, spread="none"), nodes)) == ["a"]


def test_binpack_fills_the_fullest_node_that_fits() -> None:
    nodes = [
        a_node("nd-a"),
        a_node("nd-b", reserved=amounts(memory=6)),
        a_node("nd-c", reserved=amounts(memory=7.5)),
    ]
    packed = replicas(3, spread="none", strategy=PlacementStrategy.BINPACK)
    assert names(place_all(packed, nodes)) == ["b", "b", "a"]


def test_who_must_be_near_follows_wherever_it_stands_in_the_batch() -> None:
    nodes = zones("home", "office", "office")
    near = a_request("in-1", workload_id="wl-web", affinity=(rule("db", "label.zone"),))
    db = a_request("in-2", workload_id="wl-db", workload_name="db", constraints=("label.zone == office",))
    assert names(place_all([near, db], nodes)) == ["2", "1"]
    alone = place(near, nodes)
    assert isinstance(alone, Unplaceable)
    assert (
        alone.summary
        == "no node fits: 3 nodes have no instance of db in the same label.zone (it has no place yet)"
    )


def test_a_workload_whose_instances_must_be_together_begins_somewhere() -> None:
    itself = PlacementRule(workload_name="orders", workload_id="wl-1", topology="label.zone")
    nodes = zones("home", "office", "home", "office")
    assert names(place_all(replicas(3, affinity=(itself,)), nodes)) == ["0", "2", "0"]


def test_at_most_one_on_each_node() -> None:
    itself = PlacementRule(workload_name="orders", workload_id="wl-1")
    decisions = place_all(replicas(3, anti_affinity=(itself,)), zones("home", "office"))
    assert names(decisions) == ["0", "1", "-"]
    last = decisions[-1]
    assert isinstance(last, Unplaceable)
    assert last.summary == "no node fits: 2 nodes have an instance of orders already"


def test_nodes_without_the_label_share_nothing() -> None:
    itself = PlacementRule(workload_name="orders", workload_id="wl-1", topology="label.zone")
    decisions = place_all(replicas(3, anti_affinity=(itself,)), [a_node("nd-a"), a_node("nd-b")])
    assert names(decisions) == ["a", "b", "-"]


def test_no_wish_puts_together_what_can_be_apart() -> None:
    nodes = [a_node("nd-a", labels={"disk": "ssd"}), a_node("nd-b")]
    wish = (PreferredConstraint(constraint="label.disk == ssd", weight=100),)
    assert names(place_all(replicas(2, preferred=wish), nodes)) == ["a", "b"]
    assert names(place_all(replicas(2, preferred=wish, spread="none"), nodes)) == ["a", "a"]


def test_it_is_said_which_rules_decided() -> None:
    nodes = [
        a_node("nd-a", labels={"zone": "home", "disk": "ssd"}, workloads={"wl-batch": 1}),
        a_node("nd-b", labels={"zone": "home"}, workloads={"wl-cache": 1}),
        a_node("nd-c", labels={"zone": "office"}, workloads={"wl-1": 1}),
    ]
    request = a_request(
        reserve=amounts(cpu=1),
        spread="label.zone",
        preferred=(PreferredConstraint(constraint="label.disk == ssd", weight=40),),
        affinity=(rule("cache", weight=30),),
        anti_affinity=(rule("batch", weight=20),),
    )
    decision = place(request, nodes)
    assert isinstance(decision, Placed)
    assert decision.node.name == "b"
    assert decision.reason == (
        "best of 3 nodes that fit; no other of orders in label.zone home; as wished: near cache (30), apart from batch (20); "
        "not as wished: label.disk == ssd (40); least full of the best (25% with it)"
    )
