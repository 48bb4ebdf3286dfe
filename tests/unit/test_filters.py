"""Each filter of the scheduler: who passes, and what is said of those who do not."""

from __future__ import annotations

from typing import Any

import pytest

from lattice.contracts.messages import PlacementRule
from lattice.contracts.nouns import OwnerPolicy, PortRange
from services.scheduler.candidate import candidate
from services.scheduler.explanation import NO_NODES
from services.scheduler.filters import FILTERS, failed
from services.scheduler.placement import Placed, Unplaceable, place, place_all
from tests.fixtures.scheduling import a_node, a_request, amounts, rule

DB = rule("db")
ITSELF = PlacementRule(workload_name="orders", workload_id="wl-1")
PORTS = (PortRange(first=8000, last=8099),)
CASES: dict[str, list[tuple[dict[str, Any], dict[str, Any], str]]] = {
    # name of the filter: (what the request asks, what the node is, what is said of the node)
    "state": [
        ({}, {"state": "cordoned", "reason": "kernel update"}, "a is cordoned: kernel update"),
        ({}, {"state": "unreachable"}, "a is unreachable"),
        ({}, {"state": "degraded", "reason": "its Engine is away"}, "a is degraded: its Engine is away"),
    ],
    "disk_watermark": [
        (
            {},
            {"disk_problem": "disk 91 % full, new work is refused above 85 %"},
            "a cannot take it: disk 91 % full, new work is refused above 85 %",
        ),
    ],
    "pool": [
        ({}, {"pool": "edge"}, "a is in pool edge, and default is wanted"),
        ({"pools": ("big", "gpu")}, {}, "a is in pool default, and big or gpu is wanted"),
    ],
    "owner_policy": [
        (
            {"image": "ghcr.io/acme/web:1"},
            {"policy": OwnerPolicy(images=("docker.io/library/*", "lattice.local/*"))},
            "a is not open to it: its owner allows only images docker.io/library/*, lattice.local/*",
        ),
        (
            {},
            {"policy": OwnerPolicy(hours="sat sun 00:00-24:00 (UTC)", open_now=False)},
            "a is not open to it: its owner allows new work only sat sun 00:00-24:00 (UTC)",
        ),
        (
            {"host_ports": (5432, 8000)},
            {"policy": OwnerPolicy(host_ports=PORTS)},
            "a is not open to it: its owner allows fixed host ports only in 8000-8099, and 5432 is wanted: leave out host_port, or "
            "ask for `host_ports: [5432]` in the node's policy file",
        ),
        (
            {"host_ports": (5432,)},
            {},
            "a is not open to it: its owner allows no fixed host ports, and 5432 is wanted: leave out host_port, or ask for "
            "`host_ports: [5432]` in the node's policy file",
        ),
        (
            {},
            {"policy": OwnerPolicy(pools=("home",))},
            "a is not open to it: its owner allows only pool home, and it is in pool default",
        ),
        (
            {},
            {"policy": OwnerPolicy(problem="line 1: imagse: there is no such rule")},
            "a is not open to it: its owner wrote a policy that cannot be used: line 1: imagse: there is no such rule",
        ),
    ],
    "constraint": [
        (
            {"constraints": ("label.zone == home",)},
            {"labels": {"zone": "office"}},
            "a does not meet 'label.zone == home': its label.zone is office",
        ),
        (
            {"constraints": ("arch == amd64", "label.zone == home")},
            {},
            "a does not meet 'label.zone == home': its label.zone is nothing",
        ),
        ({"constraints": ("node != a",)}, {}, "a does not meet 'node != a': its node is a or nd-a"),
        ({"constraints": ("os == bsd",)}, {}, "a does not meet 'os == bsd': its os is linux"),
        ({"constraints": ("pool != default",)}, {}, "a does not meet 'pool != default': its pool is default"),
    ],
    "only_nodes": [
        (
            {"only_nodes": ("nd-b",), "only_nodes_reason": "its volume is there"},
            {},
            "a is not where it has to run (its volume is there)",
        ),
    ],
    "failed_there": [
        (
            {"avoid": {"nd-a": "it kept failing on node a for 10 min: exited with 1"}},
            {},
            "a is to be left: it kept failing on node a for 10 min: exited with 1",
        ),
    ],
    "image": [
        (
            {"image_id": "sha256:0123456789abcdef"},
            {"image_ids": frozenset({"sha256:other"})},
            "a does not have the image 0123456789ab, which exists on nodes only",
        ),
    ],
    "affinity": [
        ({"affinity": (DB,)}, {}, "a has no instance of db (it has no place yet)"),
        (
            {"affinity": (rule("db", "label.zone"),)},
            {"labels": {"zone": "home"}},
            "a has no instance of db in its label.zone home (it has no place yet)",
        ),
        (
            {"affinity": (rule("db", known=False),)},
            {},
            "a has no instance of db (there is no workload of that name in the project)",
        ),
    ],
    "anti_affinity": [
        ({"anti_affinity": (DB,)}, {"workloads": {"wl-db": 1}}, "a has an instance of db"),
        (
            {"anti_affinity": (rule("db", "label.zone"),)},
            {"workloads": {"wl-db": 1}, "labels": {"zone": "home"}},
            "a has an instance of db in its label.zone home",
        ),
        (
            {"anti_affinity": (rule("db", is_theirs=True),)},
            {"workloads": {"wl-db": 1}},
            "a has an instance of db, which keeps apart from orders",
        ),
        (
            {"anti_affinity": (ITSELF,)},
            {"workloads": {"wl-1": 1}},
            "a has an instance of orders already",
        ),
    ],
    "cpu": [
        ({"reserve": amounts(cpu=5)}, {}, "a lacks cpu: it needs 5 cores and has 4 cores free"),
    ],
    "memory": [
        (
            {"reserve": amounts(memory=8)},
            {"reserved": amounts(memory=4.9)},
            "a lacks memory: it needs 8 GiB and has 3.1 GiB free",
        ),
        (
            {"reserve": amounts(memory=8)},
            {"reserved": amounts(memory=4.9), "held_by_stopped": amounts(memory=4)},
            "a lacks memory: it needs 8 GiB and has 3.1 GiB free; stopped workloads keep 4 GiB until they are removed",
        ),
    ],
    "disk": [
        (
            {"reserve": amounts(disk=1)},
            {"reserved": amounts(disk=200)},
            "a lacks disk: it needs 1 GiB and has 0 B free",
        ),
    ],
    "host_port": [
        (
            {"host_ports": (8000,)},
            {"policy": OwnerPolicy(host_ports=PORTS), "host_ports": {8000: "web"}},
            "a has host port 8000 taken by web",
        ),
    ],
    "document": [
        (
            {"document_bytes": 300 * 1024},
            {"document_free_bytes": 200 * 1024},
            "a has no room in its orders: the workload's take 300 KiB, and 200 KiB are left; put large files into the image or a volume",
        ),
    ],
}


def test_every_filter_has_a_case() -> None:
    assert set(CASES) == {one.name for one in FILTERS}


@pytest.mark.parametrize(
    ("name", "asked", "node", "said"), [(name, *case) for name, cases in CASES.items() for case in cases]
)
def test_a_filter_rejects_and_explains(
    name: str, asked: dict[str, Any], node: dict[str, Any], said: str
) -> None:
    decision = place(a_request(**asked), [a_node(**node)])
    assert isinstance(decision, Unplaceable)
    (rejected,) = decision.rejected
    assert (rejected.node_id, rejected.node_name, rejected.filter) == ("nd-a", "a", name)
    assert rejected.reason == said
    assert decision.summary.startswith("no node fits: 1 node ")


@pytest.mark.parametrize(
    ("asked", "node"),
    [
        ({}, {}),
        ({"pools": ("edge", "default")}, {}),
        ({"constraints": ("label.zone == home", "arch != arm64", "node == a")}, {"labels": {"zone": "home"}}),
        ({"constraints": ("label.zone != home",)}, {}),
        ({"constraints": ("node == nd-a",)}, {}),
        ({"only_nodes": ("nd-b", "nd-a")}, {}),
        ({"host_ports": (8000,)}, {"policy": OwnerPolicy(host_ports=PORTS), "host_ports": {8001: "web"}}),
        ({"image": "redis:7"}, {"policy": OwnerPolicy(images=("redis",), pools=("default",))}),
        ({"image_id": "sha256:1"}, {"image_ids": frozenset({"sha256:1"})}),
        ({"reserve": amounts(cpu=4, memory=8, disk=100)}, {}),
        ({"reserve": amounts(cpu=1)}, {"reserved": amounts(cpu=3, disk=500)}),
    ],
)
def test_a_node_passes(asked: dict[str, Any], node: dict[str, Any]) -> None:
    request = a_request(**asked)
    assert failed(request, candidate(a_node(**node)), FILTERS) is None
    assert isinstance(place(request, [a_node(**node)]), Placed)


def test_only_what_was_asked_for_matters() -> None:
    matters = [one.name for one in FILTERS if one.matters(a_request(reserve=amounts(cpu=1)))]
    assert matters == ["state", "pool", "owner_policy", "disk_watermark", "cpu"]


def test_the_commonest_reason_comes_first() -> None:
    nodes = [
        a_node("nd-a", state="cordoned"),
        a_node("nd-b", reserved=amounts(memory=4.9)),
        a_node("nd-c", reserved=amounts(memory=7)),
        a_node("nd-d", state="unreachable"),
        a_node("nd-e", state="unreachable"),
        a_node("nd-f", state="unreachable"),
    ]
    decision = place(a_request(reserve=amounts(memory=8)), nodes)
    assert isinstance(decision, Unplaceable)
    assert decision.summary == (
        "no node fits: 3 nodes are unreachable, 2 lack memory (needs 8 GiB, most has 3.1 GiB free), 1 is cordoned"
    )
    assert [rejected.node_name for rejected in decision.rejected] == list("abcdef")


def test_no_nodes_at_all() -> None:
    decision = place(a_request(), [])
    assert decision == Unplaceable(a_request(), NO_NODES)


def test_of_very_many_nodes_only_some_are_listed_and_all_are_counted() -> None:
    decision = place(a_request(), [a_node(f"nd-{n:04}", state="cordoned") for n in range(1000)])
    assert isinstance(decision, Unplaceable)
    assert decision.summary == "no node fits: 1000 nodes are cordoned"
    assert len(decision.rejected) == 20


def test_two_instances_of_one_batch_do_not_share_a_fixed_host_port() -> None:
    policy = OwnerPolicy(host_ports=PORTS)
    nodes = [a_node("nd-a", policy=policy), a_node("nd-b", policy=policy)]
    requests = [a_request(f"in-{n}", slot=n, host_ports=(8000,)) for n in range(3)]
    decisions = place_all(requests, nodes)
    assert sorted(each.node.node_id for each in decisions if isinstance(each, Placed)) == ["nd-a", "nd-b"]
    (left,) = [each for each in decisions if isinstance(each, Unplaceable)]
    assert left.summary == "no node fits: 2 nodes have host port 8000 taken"
