"""The index beside a packed segment: all that is known of its blocks, so that neither a start nor a search for a rare word reads them.

It is a sequence of frames (`checked_frames`).  The first one's header is an `IndexHead`; then one for each block: a `BlockPlace`, and as the body
the block's word filter (`words.py`).  It can always be made anew from the segment, which holds the same headers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from lattice import checked_frames
from lattice.checked_frames import Frame
from lattice.contracts.nouns import Noun
from services.logs.filters import FilterPlace
from services.logs.index import FrameHeader, Segment, StoredBlock
from services.logs.segments import mapped


class IndexHead(Noun):
    """How many blocks follow, and how long their segment is."""

    blocks: int
    size_bytes: int


class BlockPlace(Noun):
    """Where a block lies in its segment, and its header."""

    offset: int
    size: int
    check: int
    header: FrameHeader


def encode(places: Sequence[tuple[BlockPlace, bytes]], size_bytes: int) -> bytes:
    """The whole index, of blocks with their filters."""
    head = IndexHead(blocks=len(places), size_bytes=size_bytes)
    found = [checked_frames.encode(head.model_dump_json().encode(), b"")]
    found += [checked_frames.encode(place.model_dump_json().encode(), filter_) for place, filter_ in places]
    return b"".join(found)


def read(path: Path, segment: Segment, *, named: Path) -> list[StoredBlock] | None:
    """The blocks of a segment, with an index that is, or will be, called `named`.  None if it is not there, or not whole: then the segment
    itself is to be read."""
    try:
        with mapped(path) as buffer:
            found = list(
                checked_frames.scan(checked_frames.from_buffer(buffer), len(buffer), verify_bodies=False)
            )
    except OSError:
        return None
    try:
        return _blocks(named, segment, [one for one in found if isinstance(one, Frame)])
    except ValidationError:
        return None


def _blocks(path: Path, segment: Segment, found: Sequence[Frame]) -> list[StoredBlock] | None:
    head = IndexHead.model_validate_json(found[0].header) if found else None
    if head is None or head.blocks != len(found) - 1:
        return None
    if segment.remote:
        segment.size_bytes = head.size_bytes
    elif head.size_bytes != segment.size_bytes:
        return None
    segment.index_bytes = found[-1].end
    return [_block(path, segment, frame) for frame in found[1:]]


def _block(path: Path, segment: Segment, frame: Frame) -> StoredBlock:
    place = BlockPlace.model_validate_json(frame.header)
    return stored(segment, place, FilterPlace(path, frame.body_offset, frame.body_size, frame.body_check))


def stored(segment: Segment, place: BlockPlace, words: FilterPlace | None) -> StoredBlock:
    """The block at a place, with its filter; an empty filter is none."""
    filter_ = words if words is not None and words.size else None
    return StoredBlock(segment, place.offset, place.size, place.check, place.header, filter_)
