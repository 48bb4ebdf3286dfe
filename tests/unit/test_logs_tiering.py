"""Which packed segments go to the object store, and which local copies go."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from services.logs.tiering import LocalCopy, TierPolicy, to_copy, to_drop

DAY_NS = 86_400 * 10**9
NOW_NS = 1000 * DAY_NS
POLICY = TierPolicy(local_age_s=86_400, local_bytes=100)


def a_copy(name: str, *, age_days: float = 0.5, size: int = 10, copied: bool = True) -> LocalCopy:
    return LocalCopy(Path(name), size, NOW_NS - int(age_days * DAY_NS), copied)


def dropped(*copies: LocalCopy) -> list[str]:
    return [drop.path.name for drop in to_drop(copies, POLICY, NOW_NS)]


def test_what_is_not_there_is_copied_the_oldest_first() -> None:
    found = to_copy([a_copy("new", copied=False), a_copy("old", age_days=3, copied=False), a_copy("there")])
    assert [path.name for path in found] == ["old", "new"]


def test_old_copies_go_and_then_the_oldest_until_the_rest_fits() -> None:
    assert dropped(a_copy("new"), a_copy("old", age_days=2)) == ["old"]
    assert dropped(a_copy("a", age_days=0.3, size=60), a_copy("b", age_days=0.9, size=60)) == ["b"]


def test_what_the_object_store_does_not_have_stays() -> None:
    assert dropped(a_copy("old", age_days=9, size=500, copied=False)) == []


copies = st.lists(
    st.builds(
        a_copy,
        st.integers(0, 99).map(str),
        age_days=st.floats(0, 3),
        size=st.integers(0, 80),
        copied=st.booleans(),
    ),
    max_size=12,
    unique_by=lambda copy: copy.path,
)


@given(copies)
def test_what_stays_keeps_to_the_policy_or_is_nowhere_else(found: list[LocalCopy]) -> None:
    going = {drop.path for drop in to_drop(found, POLICY, NOW_NS)}
    staying = [copy for copy in found if copy.path not in going]
    assert not going & {copy.path for copy in found if not copy.copied}
    assert all(NOW_NS - copy.newest_ns <= DAY_NS for copy in staying if copy.copied)
    assert sum(copy.size_bytes for copy in staying) <= 100 or not any(copy.copied for copy in staying)
