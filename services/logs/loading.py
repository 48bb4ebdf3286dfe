"""Building the index at start, from the headers of all segments.

Whatever cannot be read is reported and left out, and everything else is served: one bad file keeps nobody's lines away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from lattice.checked_frames import Damage, Frame
from services.logs import segment_index, segments
from services.logs.index import FrameHeader, Index, Segment, StoredBlock


@dataclass(frozen=True, slots=True)
class Found:
    """Damage that was found in a segment at start; `cut` says that it was a torn tail and is gone."""

    path: Path
    damage: Damage
    cut: bool


def load(root: Path, index: Index) -> list[Found]:
    """Put all that is stored into the index; what is damaged."""
    found: list[Found] = []
    for project, workload_id, paths in segments.list_workloads(root):
        for path in paths:
            began_ns = int(path.stem)
            segment = Segment(path, project, workload_id, began_ns, began_ns)
            found += _load(segment, index, newest=path is paths[-1])
    return found


def _load(segment: Segment, index: Index, *, newest: bool) -> list[Found]:
    packed = segment.path.suffix == segments.PACKED
    segment.closed = packed
    damage: list[Found] = []
    try:
        blocks = _indexed(segment) if packed else None
        if blocks is None:
            blocks = _scanned(segment, damage, newest=newest and not packed)
    except OSError:
        segment.closed, blocks = True, []  # nothing more is written to a file that cannot be read
        damage.append(Found(segment.path, Damage(0, segment.size_bytes), cut=False))
    index.add_segment(segment)
    for block in blocks:
        segment.newest_ns = max(segment.newest_ns, block.header.stored_at_ns)
        index.add(block)
    return damage


def _indexed(segment: Segment) -> list[StoredBlock] | None:
    segment.remote = not segment.path.exists()
    segment.size_bytes = 0 if segment.remote else segment.path.stat().st_size
    path = segment.path.with_suffix(segments.INDEX)
    return segment_index.read(path, segment, named=path)


def _scanned(segment: Segment, damage: list[Found], *, newest: bool) -> list[StoredBlock]:
    found = segments.read_frames(segment.path, newest=newest)
    torn = segments.cut_torn_tail(segment.path, found) if newest else None
    if torn is not None:
        damage.append(Found(segment.path, torn, cut=True))
    segment.size_bytes = segment.path.stat().st_size
    return list(_blocks(segment, found, damage))


def _blocks(segment: Segment, found: list[Frame | Damage], damage: list[Found]) -> Iterator[StoredBlock]:
    for one in found:
        block = _block(segment, one) if isinstance(one, Frame) else None
        if block is not None:
            yield block
        else:
            lost = one if isinstance(one, Damage) else Damage(one.offset, one.end - one.offset)
            damage.append(Found(segment.path, lost, cut=False))


def _block(segment: Segment, frame: Frame) -> StoredBlock | None:
    """None of a frame that is intact and says what nobody understands."""
    try:
        header = FrameHeader.model_validate_json(frame.header)
    except ValidationError:
        return None
    return StoredBlock(segment, frame.body_offset, frame.body_size, frame.body_check, header)
