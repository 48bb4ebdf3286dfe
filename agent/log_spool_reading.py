"""Reading the files of a spool: what is to be sent, and gaps in the place of what goes.  Everything here blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.log_gaps import gap_between, gap_in, gap_of, merged, parts_held, range_of
from agent.log_ranges import BySource
from agent.log_segments import Segment
from agent.log_spool_frames import SpoolHeader
from lattice import log_records
from lattice.checked_frames import Damage, Frame
from lattice.contracts.messages import GapCause, LogBlock
from lattice.errors import Invalid
from lattice.number_ranges import Range, Ranges, overlap, without

Cursor = tuple[int, int]
"""A file of the spool, and an offset in it."""
START: Cursor = (0, 0)
_MERGE_EVERY = 512


@dataclass
class Taken:
    """Frames to send, where the next ones begin, and what could not be read."""

    frames: list[tuple[LogBlock, bytes]] = field(default_factory=list)
    cursor: Cursor = START
    broken: list[SpoolHeader] = field(default_factory=list)
    damaged: list[Segment] = field(default_factory=list)
    size: int = 0

    def add(self, segment: Segment, frame: Frame, budget_bytes: int, wanted: BySource | None) -> bool:
        """Take a frame if it is needed; False when there is no more room."""
        header = SpoolHeader.model_validate_json(frame.header)
        source, numbers = header.block.source, range_of(header.block)
        is_needed = overlap(segment.held.get(source, ()), numbers)
        if not is_needed or (wanted is not None and not overlap(wanted.get(source, ()), numbers)):
            return True
        size = len(frame.header) + frame.body_size
        if self.frames and self.size + size > budget_bytes:
            return False
        self.size += size
        body = segment.body(frame)
        if body is None:
            self.broken.append(header)
        else:
            self.frames.append((header.block, body))
        return True


def take(segments: Sequence[Segment], cursor: Cursor, budget_bytes: int, wanted: BySource | None) -> Taken:
    """Frames from there on that are needed, and among those `wanted`."""
    taken = Taken(cursor=cursor)
    for segment in segments:
        offset = cursor[1] if segment.serial == cursor[0] else 0
        for each in segment.scan(offset) if segment.held else ():
            if isinstance(each, Damage):
                taken.damaged.append(segment)
            elif not taken.add(segment, each, budget_bytes, wanted):
                return taken
            taken.cursor = (segment.serial, each.end)
    return taken


def gaps_instead(
    segment: Segment, held: Mapping[str, Ranges], blocks: Mapping[str, LogBlock]
) -> list[LogBlock]:
    """What takes the place of a file that has to go; `blocks` has one block of each container."""
    gaps: list[LogBlock] = []
    for header, frame in segment.headers():
        gaps += [_gap(segment, header, frame, part) for part in parts_held(header, held)]
        if len(gaps) > _MERGE_EVERY:
            gaps = list(merged(gaps, (), ()))
    return [*merged(gaps, (), ()), *unreadable(segment, held, blocks)]


def unreadable(
    segment: Segment, held: Mapping[str, Ranges], blocks: Mapping[str, LogBlock]
) -> list[LogBlock]:
    """What takes the place of frames whose headers are damaged."""
    left = dict(held)
    for header, _ in segment.headers():
        left[header.block.source] = without(left.get(header.block.source, ()), range_of(header.block))
    return [gap_between(blocks[source], each) for source, ranges in left.items() for each in ranges]


def _gap(segment: Segment, header: SpoolHeader, frame: Frame, part: Range) -> LogBlock:
    if part == range_of(header.block):
        return gap_of(header, GapCause.SPOOL_FULL)
    try:
        records = log_records.unpack(segment.body(frame) or b"")
    except Invalid:
        return gap_between(header.block, part)
    return gap_in(header, part, records, GapCause.SPOOL_FULL)
