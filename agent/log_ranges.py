"""Ranges of numbers: first and last included, in order and apart from each other.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Range = tuple[int, int]
Ranges = tuple[Range, ...]
BySource = Mapping[str, Ranges]


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


def without(ranges: Ranges, gone: Range) -> Ranges:
    """What is left."""
    left: list[Range] = []
    for first, last in ranges:
        if first < gone[0]:
            left.append((first, min(last, gone[0] - 1)))
        if last > gone[1]:
            left.append((max(first, gone[1] + 1), last))
    return tuple(left)


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


def united(parts: Iterable[BySource]) -> dict[str, Ranges]:
    """All together, by source."""
    found: dict[str, Ranges] = {}
    for part in parts:
        for source, ranges in part.items():
            for each in ranges:
                found[source] = added(found.get(source, ()), each)
    return found


def common_by_source(one: BySource, other: BySource) -> dict[str, Ranges]:
    """What is in both."""
    both = {source: common(ranges, other.get(source, ())) for source, ranges in one.items()}
    return {source: ranges for source, ranges in both.items() if ranges}
