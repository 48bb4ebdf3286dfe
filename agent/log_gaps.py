"""Gaps that take the place of what the spool had to let go, or could not read any more.  Pure.

Those of one container that follow each other become one, except those that were sent already: the store may have them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from agent.log_spool_frames import SpoolHeader
from lattice import log_records
from lattice.contracts.messages import GapCause, LogBlock, LogGap
from lattice.contracts.nouns import Noun
from lattice.number_ranges import Range, Ranges, common, without

Key = tuple[str, int, int]
# From so many gaps of one container on, those that were sent become one, too: they are never dropped, and must not fill the memory either.
_MOST_OF_ONE = 64
# More than any container writes: numbers that were left out on purpose (`log_place`).
_LEFT_OUT = 10**12


class Gaps(Noun):
    """As they are kept on disk."""

    gaps: tuple[LogBlock, ...] = ()


def key_of(gap: LogBlock) -> Key:
    return gap.source, gap.first, gap.last


def range_of(block: LogBlock) -> Range:
    return block.first, block.last


def gap_of(header: SpoolHeader, cause: GapCause) -> LogBlock:
    """In the place of a whole frame; a gap stays what it is."""
    block = header.block
    if block.gap is not None:
        return block
    lines = block.last - block.first + 1 - block.pieces
    return _gap(block, range_of(block), LogGap(cause=cause, lines=lines, size_bytes=header.size_bytes))


def gap_in(header: SpoolHeader, wanted: Range, records: bytes, cause: GapCause) -> LogBlock:
    """In the place of some of a frame's records."""
    part = log_records.cut(records, header.block.first, wanted)
    lines = log_records.count_lines(part)
    return _gap(header.block, wanted, LogGap(cause=cause, lines=lines, size_bytes=len(part)))


def gap_between(block: LogBlock, wanted: Range) -> LogBlock:
    """In the place of frames of which nothing can be read; `block` is one of the same container.  Each record counts as a line."""
    return _gap(block, wanted, LogGap(cause=GapCause.DAMAGED, lines=wanted[1] - wanted[0] + 1))


def holes(ranges: Ranges, until: int) -> Ranges:
    """The numbers between the ranges, and behind them up to `until`, but not those that nobody used."""
    if not ranges:
        return ()
    whole: Ranges = ((ranges[0][0], max(until, ranges[-1][1])),)
    for each in ranges:
        whole = without(whole, each)
    return tuple(each for each in whole if each[1] - each[0] < _LEFT_OUT)


def parts_held(header: SpoolHeader, held: Mapping[str, Ranges]) -> Ranges:
    """What of a frame's records is not let go yet."""
    return common(held.get(header.block.source, ()), (range_of(header.block),))


def merged(
    gaps: Iterable[LogBlock], fresh: Iterable[LogBlock], sent: Collection[Key]
) -> tuple[LogBlock, ...]:
    """The gaps with more of them."""
    by_source: dict[str, list[LogBlock]] = {}
    for gap in sorted((*gaps, *fresh), key=lambda each: (each.source, each.first)):
        mine = by_source.setdefault(gap.source, [])
        if mine and _become_one(mine[-1], gap, () if len(mine) > _MOST_OF_ONE else sent):
            mine[-1] = _one(mine[-1], gap)
        else:
            mine.append(gap)
    return tuple(gap for mine in by_source.values() for gap in mine)


def _become_one(before: LogBlock, after: LogBlock, sent: Collection[Key]) -> bool:
    if after.last <= before.last:
        return True
    one, other = before.gap, after.gap
    if one is None or other is None or one.cause is not other.cause or after.first > before.last + 1:
        return False
    unknown = one.lines is None or other.lines is None
    return not unknown and key_of(before) not in sent and key_of(after) not in sent


def _one(before: LogBlock, after: LogBlock) -> LogBlock:
    one, other = before.gap, after.gap
    if after.last <= before.last or one is None or other is None:
        return before
    gap = LogGap(
        cause=one.cause, lines=_sum(one.lines, other.lines), size_bytes=_sum(one.size_bytes, other.size_bytes)
    )
    times = {
        "first_at_ns": min(before.first_at_ns, after.first_at_ns),
        "last_at_ns": max(before.last_at_ns, after.last_at_ns),
    }
    return before.model_copy(update={"last": max(before.last, after.last), "gap": gap, **times})


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _gap(block: LogBlock, numbers: Range, gap: LogGap) -> LogBlock:
    return block.model_copy(update={"first": numbers[0], "last": numbers[1], "pieces": 0, "gap": gap})
