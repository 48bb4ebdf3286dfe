"""Which numbered lines of a container are stored: ranges, first and last included, in order and apart from each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Range = tuple[int, int]
Covered = tuple[Range, ...]


def missing(covered: Sequence[Range], wanted: Range) -> list[Range]:
    """The parts of `wanted` that are not covered."""
    first, last = wanted
    gaps = []
    for low, high in covered:
        if high < first or low > last:
            continue
        if low > first:
            gaps.append((first, low - 1))
        first = high + 1
    if first <= last:
        gaps.append((first, last))
    return gaps


def shared(covered: Sequence[Range], wanted: Range) -> list[Range]:
    """The parts of `wanted` that are covered."""
    first, last = wanted
    return [(max(low, first), min(high, last)) for low, high in covered if high >= first and low <= last]


def covering(covered: Covered, added: Range) -> Covered:
    """`covered` and `added` together; ranges that touch become one."""
    if not covered or added[0] > covered[-1][1] + 1:
        return (*covered, added)
    first, last = added
    before = [r for r in covered if r[1] < first - 1]
    after = [r for r in covered if r[0] > last + 1]
    touched = covered[len(before) : len(covered) - len(after)]
    if touched:
        first, last = min(first, touched[0][0]), max(last, touched[-1][1])
    return (*before, (first, last), *after)


def together(ranges: Iterable[Range]) -> Covered:
    """All of these, in order; ranges that touch become one."""
    covered: list[Range] = []
    for first, last in sorted(ranges):
        if covered and first <= covered[-1][1] + 1:
            covered[-1] = (covered[-1][0], max(last, covered[-1][1]))
        else:
            covered.append((first, last))
    return tuple(covered)


def inside(covered: Sequence[Range], wanted: Range) -> list[Range]:
    """The parts of `wanted` that are covered."""
    first, last = wanted
    return [(max(low, first), min(high, last)) for low, high in covered if low <= last and high >= first]
