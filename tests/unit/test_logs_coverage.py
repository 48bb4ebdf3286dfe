"""Ranges of line numbers against plain sets of numbers."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from services.logs.coverage import Covered, Range, covering, missing

ranges = st.tuples(st.integers(0, 40), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def numbers(of: list[Range] | Covered) -> list[int]:
    return [number for first, last in of for number in range(first, last + 1)]


def covered_by(added: list[Range]) -> Covered:
    covered: Covered = ()
    for one in added:
        covered = covering(covered, one)
    return covered


@given(st.lists(ranges, max_size=12))
def test_covering_is_the_union_in_order_and_apart(added: list[Range]) -> None:
    covered = covered_by(added)
    assert numbers(covered) == sorted(set(numbers(added)))
    assert all(left[1] + 1 < right[0] for left, right in itertools.pairwise(covered))


@given(st.lists(ranges, max_size=8), ranges)
def test_missing_is_the_difference(added: list[Range], wanted: Range) -> None:
    gaps = missing(covered_by(added), wanted)
    assert numbers(gaps) == sorted(set(numbers([wanted])) - set(numbers(added)))


def test_a_growing_container_stays_one_range() -> None:
    assert covered_by([(0, 9), (10, 19), (20, 29)]) == ((0, 29),)
    assert missing(((0, 29),), (5, 25)) == []
    assert missing(((0, 9), (20, 29)), (5, 34)) == [(10, 19), (30, 34)]
