"""When what keeps failing is tried on another node."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lattice.contracts.spec import WorkloadSpec
from services.registry.displacement import Displacement
from services.registry.rescheduling import LONGEST_PAUSE, Failing, avoided, in_vain, pause, tried_elsewhere

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def spec(**more: Any) -> WorkloadSpec:
    return WorkloadSpec(name="web", image="app:1", **more)


def failing(since_s: float, *, moves: int = 0, served_s: float = 0) -> Failing:
    since = NOW - timedelta(seconds=since_s)
    made = since - timedelta(seconds=served_s)
    return Failing(node="shed", since=since, placed_at=made, reason="exited with 1", moves=moves)


@given(st.floats(1, 86_400), st.integers(0, 1000))
def test_the_pause_doubles_up_to_an_hour(after_s: float, moves: int) -> None:
    now, next_ = pause(after_s, moves), pause(after_s, moves + 1)
    assert pause(after_s, 0) == timedelta(seconds=after_s)
    assert now <= next_ <= max(LONGEST_PAUSE, timedelta(seconds=after_s))
    assert next_ in (2 * now, max(LONGEST_PAUSE, timedelta(seconds=after_s)), now)


@given(st.integers(0, 20), st.floats(0, 100_000))
def test_it_moves_exactly_when_it_has_failed_for_its_pause(moves: int, since_s: float) -> None:
    found = tried_elsewhere(failing(since_s, moves=moves), spec(), pools=["default"], now=NOW)
    due = timedelta(seconds=since_s) >= pause(600, moves)
    assert (found.how is Displacement.FAILING) == due
    if due:
        assert (
            found.reason.startswith("it kept failing on node shed for ") and "exited with 1" in found.reason
        )


def test_without_another_node_in_its_pools_it_stays() -> None:
    for pools in ([], ["edge"]):
        found = tried_elsewhere(failing(10_000), spec(), pools=pools, now=NOW)
        assert found.how is Displacement.NONE


def test_one_that_served_in_between_begins_anew() -> None:
    assert in_vain(failing(600, moves=3, served_s=3599), 600) == 3
    assert in_vain(failing(600, moves=3, served_s=3600), 600) == 0, "the longest pause is an hour"
    assert in_vain(failing(600, moves=1, served_s=1199), 600) == 1


_NODES = st.sampled_from(["nd-a", "nd-b", "nd-c"])


@given(st.dictionaries(_NODES, st.just("failed")), st.sets(_NODES), st.booleans())
def test_where_it_still_fails_is_never_an_answer_and_the_rest_only_at_first(
    failed_on: dict[str, str], still_on: set[str], asked_before: bool
) -> None:
    found = avoided(failed_on, still_on, asked_before=asked_before)
    assert set(found) >= still_on & failed_on.keys()
    assert set(found) == (still_on & failed_on.keys() if asked_before else failed_on.keys())
