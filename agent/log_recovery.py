"""What a spool holds after its agent ended, in whatever way.  Blocks.

A torn end is cut off: its records are read again, since the positions are those of the frames before it.  Damage before that is told by the
numbers that are missing between the frames of a container; where all its earlier frames are damaged or were let go, the store sees the hole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loguru import logger
from pydantic import ValidationError

from agent.log_gaps import Gaps, gap_between, holes, range_of
from agent.log_place import LogPosition
from agent.log_segments import Segment
from agent.log_spool_frames import SpoolHeader
from lattice.checked_frames import Damage
from lattice.contracts.messages import LogBlock
from lattice.number_ranges import Ranges, added

Positions = dict[str, LogPosition]


@dataclass
class Recovered:
    """Positions by container, one block of each, and gaps for what is damaged."""

    positions: Positions = field(default_factory=dict)
    blocks: dict[str, LogBlock] = field(default_factory=dict)
    gaps: list[LogBlock] = field(default_factory=list)
    ranges: dict[str, Ranges] = field(default_factory=dict)

    def note(self, header: SpoolHeader) -> None:
        block = header.block
        self.blocks[block.source] = block
        self.ranges[block.source] = added(self.ranges.get(block.source, ()), range_of(block))
        known = self.positions.get(block.source)
        if known is None or header.position.number > known.number:
            self.positions[block.source] = header.position


def recover(segments: Sequence[Segment], known: Mapping[str, LogPosition]) -> Recovered:
    """Read all headers; `known` are the positions in the journal, of which the farther one counts."""
    found = Recovered()
    is_damaged = False
    for segment in segments:
        is_damaged |= _read(segment, found, is_last=segment is segments[-1])
    for source, position in known.items():
        mine = found.positions.get(source)
        if mine is None or position.number > mine.number:
            found.positions[source] = position
    if is_damaged:
        logger.error("the spool of logs is damaged; what is lost of it is told as gaps")
        found.gaps = [
            gap_between(found.blocks[source], hole)
            for source, ranges in found.ranges.items()
            for hole in holes(ranges, found.positions[source].number)
        ]
    return found


def _read(segment: Segment, found: Recovered, *, is_last: bool) -> bool:
    """Whether there is damage before the end."""
    damage: list[Damage] = []
    end = 0
    for each in segment.scan(verify_bodies=is_last):
        if isinstance(each, Damage):
            damage.append(each)
            continue
        header = SpoolHeader.model_validate_json(each.header)
        segment.hold(header.block)
        found.note(header)
        end = each.end
    if is_last and end < segment.size:
        segment.cut(end)
        damage = [each for each in damage if each.offset < end]
    return bool(damage)


def read_gaps(path: Path) -> tuple[LogBlock, ...]:
    """Those that were kept.  A file that is damaged, though it is replaced in one step, is told and left."""
    try:
        return Gaps.model_validate_json(path.read_bytes()).gaps
    except FileNotFoundError:
        return ()
    except (ValidationError, OSError) as error:
        logger.error("{} cannot be read; its gaps are lost: {}", path, type(error).__name__)
        return ()
