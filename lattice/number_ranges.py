"""Ranges of numbers, first and last included; `Ranges` are in order and apart from each other.  Pure.

Records of a container are numbered, so a few ranges say which of millions a node holds and the log store has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Range = tuple[int, int]
Ranges = tuple[Range, ...]


def added(ranges: Ranges, fresh: Range) -> Ranges:
    """With one more; ranges that touch become one."""
    if not ranges or fresh[0] > ranges[-1][1] + 1:
        return (*ranges, fresh)
    first, last = fresh
    before = tuple(each for each in ranges if each[1] < first - 1)
    after = tuple(each for each in ranges if each[0] > last + 1)
    touched = ranges[len(before) : len(ranges) - len(after)]
    if touched:
        first, last = min(first, touched[0][0]), max(last, touched[-1][1])
    return (*before, (first, last), *after)


def together(ranges: Iterable[Range]) -> Ranges:
    """All of these, whatever their order."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def without(ranges: Ranges, gone: Range) -> Ranges:
    """What is left."""
    left: list[Range] = []
    for first, last in ranges:
        if first < gone[0]:
            left.append((first, min(last, gone[0] - 1)))
        if last > gone[1]:
            left.append((max(first, gone[1] + 1), last))
    return tuple(left)


def missing(ranges: Sequence[Range], wanted: Range) -> list[Range]:
    """The parts of `wanted` that are in none."""
    first, last = wanted
    gaps = []
    for low, high in ranges:
        if high < first or low > last:
            continue
        if low > first:
            gaps.append((first, low - 1))
        first = high + 1
    if first <= last:
        gaps.append((first, last))
    return gaps


def inside(ranges: Sequence[Range], wanted: Range) -> list[Range]:
    """The parts of `wanted` that are in one."""
    first, last = wanted
    return [(max(low, first), min(high, last)) for low, high in ranges if low <= last and high >= first]


def common(ranges: Ranges, other: Ranges) -> Ranges:
    """What is in both."""
    found: list[Range] = []
    here, there = 0, 0
    while here < len(ranges) and there < len(other):
        first, last = max(ranges[here][0], other[there][0]), min(ranges[here][1], other[there][1])
        if first <= last:
            found.append((first, last))
        if ranges[here][1] < other[there][1]:
            here += 1
        else:
            there += 1
    return tuple(found)


def overlap(ranges: Ranges, wanted: Range) -> bool:
    """Whether they have a number in common."""
    return any(first <= wanted[1] and last >= wanted[0] for first, last in ranges)
