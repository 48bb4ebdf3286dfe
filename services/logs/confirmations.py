"""What nodes are told of their logs: which records are stored, which will never be.  Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest

from lattice.contracts.messages import LogRange, LogsStored
from lattice.contracts.messages.log_blocks import MOST_RANGES
from lattice.number_ranges import Range, together

# (node id, container id, its records)
Told = tuple[str, str, Range]


def words_to_nodes(stored: Iterable[Told], refused: Iterable[Told] = ()) -> Iterator[tuple[str, LogsStored]]:
    """(node id, message): ranges that touch are one, and as many messages as their number needs."""
    by_node = _by_node(stored), _by_node(refused)
    for node_id in sorted(by_node[0].keys() | by_node[1].keys()):
        for said in messages(by_node[0].get(node_id, ()), by_node[1].get(node_id, ())):
            yield node_id, said


def messages(stored: Iterable[LogRange], refused: Iterable[LogRange] = ()) -> Iterator[LogsStored]:
    """At least one, so that whoever asked is answered."""
    parts = zip_longest(_in_parts(tuple(stored)), _in_parts(tuple(refused)), fillvalue=())
    for stored_part, refused_part in parts:
        yield LogsStored(stored=stored_part, refused=refused_part)


def of_those_asked(
    asked: Iterable[LogRange], known: Callable[[str, Range], Iterable[Range]]
) -> Iterator[LogRange]:
    """What is known of the ranges asked for."""
    for wanted in asked:
        for first, last in known(wanted.source, (wanted.first, wanted.last)):
            yield LogRange(source=wanted.source, first=first, last=last)


def _by_node(told: Iterable[Told]) -> dict[str, list[LogRange]]:
    ranges: dict[tuple[str, str], list[Range]] = defaultdict(list)
    for node_id, source, lines in told:
        ranges[node_id, source].append(lines)
    by_node: dict[str, list[LogRange]] = defaultdict(list)
    for (node_id, source), of_source in ranges.items():
        merged = together(lines for lines in of_source if lines[0] <= lines[1])
        for first, last in merged:
            by_node[node_id].append(LogRange(source=source, first=first, last=last))
    return by_node


def _in_parts(ranges: tuple[LogRange, ...]) -> list[tuple[LogRange, ...]]:
    parts = [ranges[start : start + MOST_RANGES] for start in range(0, len(ranges), MOST_RANGES)]
    return parts or [()]
