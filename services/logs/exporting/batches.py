"""Lines on their way to a sink, some of many blocks at a time, and which records are dealt with when they are there.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from lattice import log_records
from lattice.log_labels import Place
from lattice.log_levels import LogLevel, level_of
from lattice.log_records import Line
from lattice.log_shown import GAP, gap_line
from lattice.number_ranges import Range
from services.logs.index import Container, StoredBlock, container_of
from services.logs.query import place_of


class Limits(NamedTuple):
    """When a batch is full."""

    lines: int
    size_bytes: int


class Exported(NamedTuple):
    """A line, from where, and of which container."""

    place: Place
    source: str
    line: Line

    @property
    def level(self) -> LogLevel | None:
        """How grave it is; lines in place of missing ones have none."""
        return None if self.line.stream == GAP else level_of(self.line.text)


@dataclass(slots=True)
class Batch:
    """Lines that are sent together; `done` is what is dealt with then, also what held no line at all."""

    lines: list[Exported] = field(default_factory=list)
    done: list[tuple[Container, Range]] = field(default_factory=list)
    size: int = 0

    def is_full(self, limits: Limits) -> bool:
        return len(self.lines) >= limits.lines or self.size >= limits.size_bytes


Pending = tuple[StoredBlock, list[Range]]
Read = Callable[[StoredBlock], bytes | None]


def batches(pending: Iterable[Pending], read: Read, limits: Limits) -> Iterator[Batch]:
    """All lines of these ranges.  `read` answers the records of a block; None for one that is not there any more: nothing of it is dealt with."""
    batch = Batch()
    for block, ranges in pending:
        lines = _wanted(block, ranges, read)
        if lines is None:
            continue
        source, reached = container_of(block.header.block), [first for first, _ in ranges]
        for exported in lines:
            number = exported.line.number
            if batch.is_full(limits) and number > _newest_number(batch, exported.source):
                batch.done += _up_to(source, ranges, reached, number - 1)
                yield batch
                batch = Batch()
            batch.lines.append(exported)
            batch.size += len(exported.line.text)
        batch.done += _up_to(source, ranges, reached, ranges[-1][1])
    if batch.done:
        yield batch


def _wanted(block: StoredBlock, ranges: list[Range], read: Read) -> list[Exported] | None:
    about, place = block.header.block, place_of(block)
    if about.gap is not None:
        return [Exported(place, about.source, gap_line(about))]
    records = read(block)
    if records is None:
        return None
    found = (
        Exported(place, about.source, line)
        for line in (log_records.lines(records, about.first) if records else ())
        if any(first <= line.number <= last for first, last in ranges)
    )
    return sorted(found, key=lambda exported: exported.line.number)


def _newest_number(batch: Batch, source: str) -> int:
    """A line may be cut into several of the same number, which stay together."""
    newest = batch.lines[-1]
    return newest.line.number if newest.source == source else 0


def _up_to(
    source: Container, ranges: list[Range], reached: list[int], number: int
) -> Iterator[tuple[Container, Range]]:
    """What of the ranges is dealt with up to a number and was not told before."""
    for index, (_, last) in enumerate(ranges):
        until = min(last, number)
        if until >= reached[index]:
            yield source, (reached[index], until)
            reached[index] = until + 1
