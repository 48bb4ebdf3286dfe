"""Ranges of numbers against plain sets of numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from lattice.number_ranges import Range, Ranges, added, common, inside, missing, overlap, together, without

one_range = st.tuples(st.integers(0, 40), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1]))
some_ranges = st.lists(one_range, max_size=12)


def numbers(of: Iterable[Range]) -> list[int]:
    return [number for first, last in of for number in range(first, last + 1)]


def union(of: Iterable[Range]) -> Ranges:
    covered: Ranges = ()
    for each in of:
        covered = added(covered, each)
    return covered


@given(some_ranges)
def test_one_by_one_or_together_they_are_the_union_in_order_and_apart(parts: list[Range]) -> None:
    covered = union(parts)
    assert covered == together(parts)
    assert numbers(covered) == sorted(set(numbers(parts)))
    assert all(left[1] + 1 < right[0] for left, right in itertools.pairwise(covered))


@given(some_ranges, one_range)
def test_a_range_beside_ranges(parts: list[Range], wanted: Range) -> None:
    covered = union(parts)
    there, asked = set(numbers(parts)), set(numbers([wanted]))
    assert numbers(missing(covered, wanted)) == sorted(asked - there)
    assert numbers(inside(covered, wanted)) == sorted(asked & there)
    assert numbers(without(covered, wanted)) == sorted(there - asked)
    assert overlap(covered, wanted) is bool(asked & there)


@given(some_ranges, some_ranges)
def test_what_two_have_in_common(one: list[Range], other: list[Range]) -> None:
    assert numbers(common(union(one), union(other))) == sorted(set(numbers(one)) & set(numbers(other)))


def test_a_growing_container_stays_one_range() -> None:
    assert union([(0, 9), (10, 19), (20, 29)]) == ((0, 29),)
    assert missing(((0, 29),), (5, 25)) == []
    assert missing(((0, 9), (20, 29)), (5, 34)) == [(10, 19), (30, 34)]
