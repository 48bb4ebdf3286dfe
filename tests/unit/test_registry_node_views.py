"""A node as people and the scheduler see it, and which of its reports is the newest."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.contracts.messages import ObservedDocument
from lattice.contracts.nouns import (
    Amounts,
    Inventory,
    Liveness,
    LocalImage,
    Membership,
    NodeState,
    QuarantinedContainer,
)
from lattice.errors import Invalid
from lattice.storage import Transaction
from lattice.testing import MemoryStore
from services.registry.change import SYSTEM, Change
from services.registry.node_rows import reserved_by, write_node
from services.registry.node_views import node_view, schedulable_node, state_of, where_state
from services.registry.observed_order import (
    Order,
    Source,
    apply_node_report,
    is_newer,
    known_source,
    order,
)
from services.registry.tables import FactRow, InstanceRow, NodePresenceRow, NodeRow

NOW = datetime(2030, 1, 1, tzinfo=UTC)
INVENTORY = Inventory(
    arch="arm64",
    os="Debian 12",
    capacity=Amounts(cpu_millis=4000, memory_bytes=2**33, disk_bytes=2**37),
    images=(LocalImage(id="sha256:aa", references=("web:1",)),),
)


def node(**columns: Any) -> NodeRow:
    values = {
        "id": "nd-1",
        "name": "rack-1",
        "membership": Membership.APPROVED.value,
        "liveness": Liveness.READY.value,
        "fingerprint": "1f3a-99c0",
        "nkey": "U1",
        "sealing_key": "s",
        "created_at": NOW,
        "inventory": INVENTORY.model_dump(mode="json"),
    }
    return NodeRow(**{**values, **columns})


def report(**fields: Any) -> ObservedDocument:
    values = {
        "node_id": "nd-1",
        "boot_id": "boot-1",
        "session": 1,
        "counter": 0,
        "era": 1,
        "generation": 3,
        "complete": True,
        "inventory": INVENTORY,
    }
    return ObservedDocument(**{**values, **fields})


# --- how it is seen ----------------------------------------------------------------------------------------


def test_a_node_is_shown_with_everything_an_operator_asks() -> None:
    seen = NodePresenceRow(id="nd-1", last_seen=NOW, usage=Amounts(cpu_millis=250).model_dump())
    lost = QuarantinedContainer(name="old", container_id="c1")
    view = node_view(
        node(labels={"zone": "home"}, quarantined=[lost.model_dump()], certificate_expires_at=NOW),
        seen,
        Amounts(cpu_millis=1500),
    )
    assert (view.state, view.reason) == (NodeState.READY, "")
    assert (view.capacity.cpu_millis, view.reserved.cpu_millis, view.usage.cpu_millis) == (4000, 1500, 250)
    assert (view.last_seen, view.arch, view.labels) == (NOW, "arm64", {"zone": "home"})
    assert view.quarantined == (lost,)


def test_a_node_never_heard_has_no_last_seen() -> None:
    view = node_view(node(liveness=Liveness.JOINING.value), None, Amounts())
    assert (view.last_seen, view.usage, view.state) == (None, Amounts(), NodeState.JOINING)
    assert "not yet reported" in view.reason


def test_a_broken_engine_is_said_in_plain_words_and_keeps_work_away() -> None:
    broken = node(docker_problem="/var/run/docker.sock does not answer")
    assert node_view(broken, None, Amounts()).state is NodeState.READY
    seen = schedulable_node(broken, Amounts(), Amounts(), 0, {})
    assert seen.state == "degraded"
    assert seen.reason == "its Docker Engine cannot be used: /var/run/docker.sock does not answer"


def test_the_scheduler_sees_what_is_free_and_what_is_there() -> None:
    asked = {"sha256:aa", "sha256:elsewhere"}
    seen = schedulable_node(
        node(pool="edge"), Amounts(cpu_millis=500), Amounts(), 0, {"wl-1": 2}, asked_images=asked
    )
    assert (seen.state, seen.reason, seen.pool) == ("ready", "", "edge")
    assert (seen.capacity.cpu_millis, seen.reserved.cpu_millis) == (4000, 500)
    assert (seen.image_ids, seen.workloads) == (frozenset({"sha256:aa"}), {"wl-1": 2})


STANDINGS = st.builds(
    node,
    membership=st.sampled_from([m.value for m in Membership]),
    liveness=st.sampled_from([one.value for one in Liveness]),
    cordoned=st.booleans(),
    draining=st.booleans(),
    docker_problem=st.sampled_from(["", "down"]),
)


@given(row=STANDINGS)
def test_only_a_member_that_is_heard_open_and_able_is_ready_for_work(row: NodeRow) -> None:
    seen = schedulable_node(row, Amounts(), Amounts(), 0, {})
    able = (
        row.membership == Membership.APPROVED
        and row.liveness == Liveness.READY
        and not (row.cordoned or row.draining or row.docker_problem)
    )
    assert (seen.state == "ready") is able
    assert able or seen.reason or row.membership in (Membership.REJECTED, Membership.REVOKED)


@given(row=STANDINGS)
def test_a_state_finds_exactly_the_nodes_that_show_it(row: NodeRow) -> None:
    for state in NodeState:
        found = all(getattr(row, column) == value for column, value in where_state(state).items())
        assert found is (state_of(row) is state)


def test_reservations_are_summed_by_node() -> None:
    def instance(node_id: str | None, cpu_millis: int) -> InstanceRow:
        return InstanceRow(
            id="in-1",
            workload_id="wl-1",
            workload_name="web",
            project="default",
            slot=0,
            epoch=1,
            revision=1,
            desired="running",
            node_id=node_id,
            cpu_millis=cpu_millis,
            memory_bytes=10,
            disk_bytes=1,
            created_at=NOW,
        )

    reserved = reserved_by([instance("a", 100), instance("a", 250), instance("b", 5), instance(None, 9)])
    assert reserved == {
        "a": Amounts(cpu_millis=350, memory_bytes=20, disk_bytes=2),
        "b": Amounts(cpu_millis=5, memory_bytes=10, disk_bytes=1),
    }


# --- which report is the newest ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "found", "expected"),
    [
        (Source("", 0, -1), Source("A", 1, 0), Order.NEWER),
        (Source("A", 1, 5), Source("A", 1, 6), Order.NEWER),
        (Source("A", 1, 5), Source("A", 1, 5), Order.OLD),
        (Source("A", 1, 5), Source("A", 1, 4), Order.OLD),
        (Source("A", 2, 5), Source("A", 1, 9), Order.OLD),
        (Source("A", 1, 5), Source("A", 2, 0), Order.TAKEOVER),
        (Source("A", 1, 5), Source("B", 2, 0), Order.TAKEOVER),
        (Source("A", 1, 5), Source("B", 1, 6), Order.CLONE),
        (Source("A", 2, 5), Source("B", 1, 9), Order.CLONE),
    ],
)
def test_the_order_of_reports(known: Source, found: Source, expected: Order) -> None:
    assert order(known, found) is expected
    document = report(boot_id=found.boot_id, session=found.session, counter=found.counter)
    assert is_newer(known, document) is (expected in (Order.NEWER, Order.TAKEOVER))


SOURCES = st.builds(Source, st.sampled_from("AB"), st.integers(1, 3), st.integers(0, 3))


@given(reports=st.lists(SOURCES, max_size=30))
def test_what_is_known_never_goes_back(reports: list[Source]) -> None:
    known = Source("", 0, -1)
    for found in reports:
        if order(known, found) in (Order.NEWER, Order.TAKEOVER):
            assert (found.session, found.counter) > (known.session, known.counter) or not known.boot_id
            known = found
    assert all(order(known, found) in (Order.OLD, Order.CLONE) for found in reports)


# --- what a report says of the node ------------------------------------------------------------------------


@pytest.fixture
async def tx() -> AsyncIterator[Transaction]:
    async with MemoryStore().transaction() as unit:
        yield unit


@pytest.fixture
def change(tx: Transaction) -> Change:
    numbers = itertools.count()
    return Change(tx, SYSTEM, "node.report", NOW, lambda prefix: f"{prefix}-{next(numbers)}")


async def facts(change: Change) -> list[str]:
    await change.tx.flush()
    return [row.verb for row in await change.tx.find(FactRow)]


async def test_the_first_complete_report_makes_a_node_ready(change: Change) -> None:
    row = change.tx.add(node(liveness=Liveness.JOINING.value, inventory={}))
    lost = QuarantinedContainer(name="old", container_id="c1")
    assert apply_node_report(change, row, report(quarantined=(lost,)))
    assert (row.liveness, row.boot_id, row.session, row.observed_counter) == ("ready", "boot-1", 1, 0)
    assert (row.observed_era, row.observed_generation) == (1, 3)
    assert Inventory.model_validate(row.inventory) == INVENTORY
    assert row.quarantined == [lost.model_dump(mode="json")]
    assert await facts(change) == ["ready"]


async def test_while_the_engine_cannot_be_listed_absence_means_nothing(change: Change) -> None:
    row = change.tx.add(node(liveness=Liveness.JOINING.value))
    blind = report(complete=False, docker_problem="down", inventory=Inventory())
    assert apply_node_report(change, row, blind)
    assert (row.liveness, row.docker_problem) == ("joining", "down")
    assert Inventory.model_validate(row.inventory) == INVENTORY


async def test_an_old_report_changes_nothing(change: Change) -> None:
    row = change.tx.add(node(boot_id="boot-1", session=1, observed_counter=5))
    before = row.model_dump()
    assert not apply_node_report(change, row, report(counter=5, docker_problem="down"))
    assert row.model_dump() == before


async def test_a_clone_is_refused_and_flagged_once(change: Change) -> None:
    row = change.tx.add(node(boot_id="boot-1", session=4, observed_counter=5))
    for counter in range(3):
        assert not apply_node_report(change, row, report(boot_id="boot-2", session=4, counter=counter))
    assert "boot-2" in row.reason
    assert known_source(row) == Source("boot-1", 4, 5)
    assert await facts(change) == ["clone_suspected"]
    assert apply_node_report(change, row, report(boot_id="boot-1", session=4, counter=6))
    assert "boot-2" in row.reason  # people must look: it does not vanish by itself


async def test_a_takeover_ends_the_flag(change: Change) -> None:
    row = change.tx.add(node(boot_id="boot-1", session=4, observed_counter=5))
    apply_node_report(change, row, report(boot_id="boot-2", session=4))
    assert apply_node_report(change, row, report(boot_id="boot-3", session=5))
    assert (row.reason, row.session) == ("", 5)


@pytest.mark.parametrize(
    "columns",
    [{"membership": Membership.REVOKED.value}, {"membership": Membership.PENDING.value}, {"removed_at": NOW}],
)
async def test_who_is_no_member_is_not_heard(change: Change, columns: dict[str, Any]) -> None:
    row = change.tx.add(node(**columns))
    assert not apply_node_report(change, row, report())
    assert row.boot_id == ""


async def test_a_node_speaks_for_itself_only(change: Change) -> None:
    row = change.tx.add(node())
    with pytest.raises(Invalid, match="speaks for itself"):
        apply_node_report(change, row, report(node_id="nd-2"))


@pytest.mark.parametrize(
    ("columns", "seen"),
    [
        ({"liveness": "suspect"}, True),
        ({"docker_problem": "down"}, True),
        ({"labels": {"a": "b"}}, True),
        ({"inventory": {**INVENTORY.model_dump(mode="json"), "images": []}}, True),
        ({"inventory": {**INVENTORY.model_dump(mode="json"), "kernel": "6.1"}}, False),
        ({"observed_counter": 9}, False),
        ({"certificate_expires_at": NOW + timedelta(days=1)}, False),
        ({"docker_problem": "", "labels": {}}, False),
    ],
)
async def test_the_placement_version_rises_with_what_the_scheduler_sees(
    change: Change, columns: dict[str, Any], *, seen: bool
) -> None:
    row = change.tx.add(node())
    write_node(change, row, **columns)
    assert row.placement_version == (2 if seen else 1)
