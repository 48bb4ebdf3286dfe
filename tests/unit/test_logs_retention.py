"""Which segments are let go."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from services.logs.retention import Kept, Policy, removals

DAY_NS = 86_400 * 10**9
NOW_NS = 1000 * DAY_NS
POLICY = Policy(max_age_s=7 * 86_400, max_bytes_per_project=100)


def segment(
    name: str, *, age_days: float = 0, size: int = 10, project: str = "p", growing: bool = False
) -> Kept:
    return Kept(Path(name), project, size, NOW_NS - int(age_days * DAY_NS), growing)


def gone(*segments: Kept) -> list[str]:
    return [removal.path.name for removal in removals(segments, POLICY, NOW_NS)]


def test_what_is_too_old_goes_even_if_it_grows() -> None:
    assert gone(
        segment("a", age_days=7.1), segment("b", age_days=7.1, growing=True), segment("c", age_days=6.9)
    ) == ["a", "b"]


def test_exactly_as_old_as_allowed_stays() -> None:
    assert gone(segment("a", age_days=7)) == []


def test_the_oldest_of_a_project_go_until_it_keeps_to_its_size() -> None:
    assert gone(
        segment("new", age_days=1, size=60),
        segment("old", age_days=3, size=30),
        segment("middle", age_days=2, size=50),
    ) == ["old", "middle"]


def test_projects_do_not_pay_for_each_other() -> None:
    assert gone(segment("a", size=100), segment("b", size=100, project="q")) == []


def test_a_growing_segment_does_not_go_by_size() -> None:
    assert gone(segment("a", age_days=5, size=500, growing=True), segment("b", size=1)) == ["b"]


def test_a_reason_is_given() -> None:
    (removal,) = removals([segment("a", age_days=8)], POLICY, NOW_NS)
    assert removal.reason == "older than 7 days"


segments = st.lists(
    st.builds(
        segment,
        st.integers(0, 99).map(str),
        age_days=st.floats(0, 10),
        size=st.integers(0, 80),
        project=st.sampled_from(["p", "q"]),
        growing=st.booleans(),
    ),
    max_size=15,
    unique_by=lambda kept: kept.path,
)


@given(segments)
def test_what_stays_keeps_to_the_policy(found: list[Kept]) -> None:
    going = {removal.path for removal in removals(found, POLICY, NOW_NS)}
    staying = [kept for kept in found if kept.path not in going]
    assert all(NOW_NS - kept.newest_ns <= 7 * DAY_NS for kept in staying)
    for project in ("p", "q"):
        closed = [kept for kept in staying if kept.project == project and not kept.growing]
        total = sum(kept.size_bytes for kept in staying if kept.project == project)
        assert total <= 100 or not closed
    assert removals(staying, POLICY, NOW_NS) == []
