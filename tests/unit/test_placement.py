"""What holds for every placement, whatever the nodes and requests; and the preferences."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from lattice.contracts.messages import PlacementRequest, SchedulableNode
from lattice.contracts.nouns import Amounts
from services.scheduler.candidate import candidate
from services.scheduler.filters import FILTERS, failed
from services.scheduler.placement import Decision, Placed, Unplaceable, place, place_all
from tests.fixtures.scheduling import a_node, a_request, amounts

some_amounts = st.builds(
    Amounts,
    cpu_millis=st.integers(0, 4000),
    memory_bytes=st.integers(0, 8000),
    disk_bytes=st.sampled_from([0, 0, 5000]),
)
nodes_of_any_kind = st.builds(
    a_node,
    node_id=st.integers(0, 99).map(lambda n: f"nd-{n:02}"),
    state=st.sampled_from(["ready", "ready", "ready", "cordoned", "unreachable"]),
    arch=st.sampled_from(["amd64", "amd64", "arm64"]),
    pool=st.sampled_from(["default", "default", "edge"]),
    labels=st.sampled_from([{}, {"zone": "home"}, {"zone": "office"}]),
    capacity=st.just(Amounts(cpu_millis=4000, memory_bytes=8000, disk_bytes=9000)),
    reserved=some_amounts,
    workloads=st.dictionaries(st.sampled_from(["wl-1", "wl-2"]), st.integers(1, 3)),
    image_ids=st.sampled_from([frozenset(), frozenset({"sha256:1"})]),
)
fleets = st.lists(nodes_of_any_kind, max_size=12, unique_by=lambda node: node.node_id)
requests_of_any_kind = st.builds(
    a_request,
    instance_id=st.integers(0, 999).map(lambda n: f"in-{n:03}"),
    workload_id=st.sampled_from(["wl-1", "wl-2", "wl-3"]),
    reserve=some_amounts,
    pools=st.sampled_from([("default",), ("default", "edge"), ("nowhere",)]),
    constraints=st.sampled_from([(), ("label.zone == home",), ("label.zone != home", "arch == amd64")]),
    only_nodes=st.sampled_from([None, None, ("nd-01", "nd-02", "nd-03")]),
    image_id=st.sampled_from([None, None, "sha256:1"]),
)
batches = st.lists(requests_of_any_kind, max_size=20, unique_by=lambda request: request.instance_id)


# Few plain nodes and many large requests of few kinds: most runs end with a full fleet.
crowded_fleets = st.lists(
    st.integers(0, 9).map(lambda n: a_node(f"nd-{n}", capacity=Amounts(cpu_millis=4000, memory_bytes=8000))),
    min_size=1,
    max_size=3,
    unique_by=lambda node: node.node_id,
)
large_amounts = st.builds(
    Amounts, cpu_millis=st.sampled_from([0, 900, 2000]), memory_bytes=st.sampled_from([1000, 3000, 8000])
)
crowds = st.lists(
    st.tuples(st.sampled_from(["wl-1", "wl-2", "wl-3"]), large_amounts), min_size=3, max_size=20
).map(lambda asked: [a_request(f"in-{n:03}", workload_id=w, reserve=r) for n, (w, r) in enumerate(asked)])


def taken(decisions: Sequence[Decision]) -> dict[str, list[PlacementRequest]]:
    found = defaultdict(list)
    for decision in decisions:
        if isinstance(decision, Placed):
            found[decision.node.node_id].append(decision.request)
    return found


@given(st.one_of(batches, crowds), st.one_of(fleets, crowded_fleets))
def test_nothing_is_placed_over_a_capacity(
    requests: list[PlacementRequest], nodes: list[SchedulableNode]
) -> None:
    placed = taken(place_all(requests, nodes))
    for node in nodes:
        for resource in ("cpu_millis", "memory_bytes", "disk_bytes"):
            needs = [getattr(request.reserve, resource) for request in placed[node.node_id]]
            if any(needs):
                free = getattr(node.capacity, resource) - getattr(node.reserved, resource)
                assert sum(needs) <= free


@given(batches, fleets)
def test_every_request_gets_one_decision_and_every_placement_passes_every_filter(
    requests: list[PlacementRequest], nodes: list[SchedulableNode]
) -> None:
    decisions = place_all(requests, nodes)
    assert Counter(d.request.instance_id for d in decisions) == Counter(r.instance_id for r in requests)
    for decision in decisions:
        if isinstance(decision, Placed):
            assert failed(decision.request, candidate(decision.node), FILTERS) is None


@given(batches, fleets, st.randoms(use_true_random=False))
def test_the_order_of_the_arguments_changes_nothing(
    requests: list[PlacementRequest], nodes: list[SchedulableNode], chance: random.Random
) -> None:
    expected = place_all(requests, nodes)
    assert place_all(chance.sample(requests, len(requests)), chance.sample(nodes, len(nodes))) == expected
    assert place_all(requests, nodes) == expected


@given(requests_of_any_kind, fleets)
def test_an_unplaceable_request_is_explained_for_every_node(
    request: PlacementRequest, nodes: list[SchedulableNode]
) -> None:
    decision = place(request, nodes)
    fitting = [node for node in nodes if failed(request, candidate(node), FILTERS) is None]
    if isinstance(decision, Unplaceable):
        assert not fitting
        assert decision.summary.startswith("no node fits: ")
        assert {rejected.node_id for rejected in decision.rejected} == {node.node_id for node in nodes}
    else:
        assert decision.node in fitting
        assert decision.reason
        assert len(decision.rejected) == len(nodes) - len(fitting)
    assert all(rejected.reason for rejected in decision.rejected)


@given(requests_of_any_kind, fleets)
def test_the_choice_is_the_best_by_the_stated_preference(
    request: PlacementRequest, nodes: list[SchedulableNode]
) -> None:
    decision = place(request, nodes)
    if isinstance(decision, Placed):
        best = min(
            (one.node.workloads.get(request.workload_id, 0), one.load_with(request.reserve), one.node.node_id)
            for one in map(candidate, nodes)
            if failed(request, one, FILTERS) is None
        )
        assert decision.node.node_id == best[2]


@given(st.one_of(batches, crowds), st.one_of(fleets, crowded_fleets))
def test_a_batch_decides_as_one_after_the_other_would(
    requests: list[PlacementRequest], nodes: list[SchedulableNode]
) -> None:
    """The heap is a short cut, not another policy."""
    state = {node.node_id: node for node in nodes}
    for decision in place_all(requests, nodes):
        alone = place(decision.request, state.values())
        assert type(alone) is type(decision)
        if isinstance(alone, Placed) and isinstance(decision, Placed):
            assert alone.node.node_id == decision.node.node_id
            state[alone.node.node_id] = with_instance(state[alone.node.node_id], alone.request)


def with_instance(node: SchedulableNode, request: PlacementRequest) -> SchedulableNode:
    reserved = Amounts(
        **{
            name: getattr(node.reserved, name) + getattr(request.reserve, name)
            for name in Amounts.model_fields
        }
    )
    count = node.workloads.get(request.workload_id, 0) + 1
    return node.model_copy(
        update={"reserved": reserved, "workloads": node.workloads | {request.workload_id: count}}
    )


def names(decisions: Sequence[Decision]) -> list[str]:
    return [decision.node.name if isinstance(decision, Placed) else "-" for decision in decisions]


def replicas(count: int, **changes: object) -> list[PlacementRequest]:
    return [a_request(f"in-{n:03}", slot=n, **changes) for n in range(count)]


def test_replicas_are_spread_before_the_load_is_evened() -> None:
    nodes = [a_node("nd-a", reserved=amounts(cpu=3)), a_node("nd-b"), a_node("nd-c", reserved=amounts(cpu=1))]
    assert names(place_all(replicas(5), nodes)) == ["b", "c", "a", "b", "c"]


def test_replicas_that_run_already_count() -> None:
    nodes = [a_node("nd-a", workloads={"wl-1": 1}), a_node("nd-b", reserved=amounts(memory=6))]
    assert names(place_all(replicas(1), nodes)) == ["b"]


def test_of_equal_nodes_the_first_by_id_is_taken() -> None:
    assert names(place_all(replicas(2), [a_node("nd-b"), a_node("nd-a")])) == ["a", "b"]


def test_a_full_fleet_leaves_the_rest_without_a_place() -> None:
    decisions = place_all(replicas(5, reserve=amounts(cpu=2)), [a_node("nd-a"), a_node("nd-b")])
    assert names(decisions) == ["a", "b", "a", "b", "-"]
    last = decisions[-1]
    assert isinstance(last, Unplaceable)
    assert last.summary == "no node fits: 2 nodes lack cpu (needs 2 cores, most has 0 cores free)"


def test_what_has_one_place_only_chooses_before_what_may_go_elsewhere() -> None:
    """A database that is started again keeps the room beside its data, whoever has waited for room for longer."""
    nodes = [a_node("nd-a", reserved=amounts(cpu=2)), a_node("nd-b", reserved=amounts(cpu=4))]
    waiting = a_request("in-1", reserve=amounts(cpu=2))
    at_home = a_request("in-2", reserve=amounts(cpu=2), only_nodes=("nd-a",))
    assert names(place_all([waiting, at_home], nodes)) == ["-", "a"]


def test_a_placement_says_why_and_keeps_the_version_it_saw() -> None:
    nodes = [a_node("nd-a", placement_version=7), a_node("nd-b", state="cordoned")]
    decision = place(a_request(reserve=amounts(cpu=1)), nodes)
    assert isinstance(decision, Placed)
    assert decision.node.placement_version == 7
    assert decision.reason == "the only node that fits; 25% full with it"
    assert [rejected.reason for rejected in decision.rejected] == ["b is cordoned"]
    spread = place(a_request(reserve=amounts(cpu=1)), [a_node("nd-a"), a_node("nd-b")])
    assert isinstance(spread, Placed)
    assert spread.reason == "least full of 2 nodes that fit (25% with it), no other instance of orders there"


def test_exactly_full_fits_and_one_byte_more_does_not() -> None:
    huge = a_node(capacity=Amounts(cpu_millis=4000, memory_bytes=2**60))
    fits = a_request(reserve=Amounts(memory_bytes=2**60))
    assert isinstance(place(fits, [huge]), Placed)
    assert isinstance(
        place(fits, [huge.model_copy(update={"reserved": Amounts(memory_bytes=1)})]), Unplaceable
    )
    pair = [
        a_request("in-1", reserve=Amounts(memory_bytes=2**59)),
        a_request("in-2", reserve=Amounts(memory_bytes=2**59 + 1)),
    ]
    assert [type(decision) for decision in place_all(pair, [huge])] == [Placed, Unplaceable]


def test_what_a_node_s_document_can_take_shrinks_with_each_placement() -> None:
    """Requests that differed in nothing but their size shared one answer, and the registry refused them one by one."""
    node = a_node(document_free_bytes=1000)
    batch = [
        a_request(f"in-{n}", slot=n, document_bytes=size) for n, size in enumerate((100, 2000, 500, 500))
    ]
    placed = [isinstance(decision, Placed) for decision in place_all(batch, [node])]
    assert placed == [True, False, True, False]
