"""When work moves to another node."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lattice.contracts.spec import NodeLossMode, NodeLossSpec
from services.registry.displacement import Displaced, Displacement, NodeSight, displaced

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def ask(node: NodeSight, policy: NodeLossSpec | None = None, **seen: Any) -> Displaced:
    given: dict[str, Any] = {"has_volume": False, "moves_held": False, "now": NOW} | seen
    return displaced(node, policy or NodeLossSpec(lost_after=60), **given)


def lost(seconds: float, **more: Any) -> NodeSight:
    return NodeSight(name="shed", lost_since=NOW - timedelta(seconds=seconds), **more)


def test_on_a_node_that_is_heard_everything_stays() -> None:
    assert ask(NodeSight(name="shed")) == Displaced()


def test_a_drained_node_is_left_while_serving() -> None:
    assert ask(NodeSight(name="shed", draining=True)).how is Displacement.DRAINED


@pytest.mark.parametrize(
    ("seconds", "how"), [(59, Displacement.NONE), (60, Displacement.LOST)], ids=["waits", "moves"]
)
def test_a_lost_node_is_left_after_its_time(seconds: float, how: Displacement) -> None:
    assert ask(lost(seconds)).how is how


def test_data_never_moves() -> None:
    for node in (lost(10_000, loss_confirmed=True), NodeSight(name="shed", draining=True)):
        found = ask(node, has_volume=True)
        assert found.how is Displacement.NONE and found.reason.startswith("held")


def test_work_that_is_to_stay_stays() -> None:
    assert ask(lost(10_000), NodeLossSpec(stateless=NodeLossMode.STAY)).how is Displacement.NONE


def test_while_the_fault_may_be_ours_nothing_moves_unless_confirmed() -> None:
    found = ask(lost(600), moves_held=True)
    assert found.how is Displacement.NONE and "confirm-lost shed" in found.reason
    assert ask(lost(1, loss_confirmed=True), moves_held=True).how is Displacement.LOST
    assert ask(lost(600)).how is Displacement.LOST
