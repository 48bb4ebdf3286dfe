"""Ranges of records by container.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lattice.number_ranges import Ranges, added, common

BySource = Mapping[str, Ranges]


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
