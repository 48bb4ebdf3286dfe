"""Packing closed segments, in a thread of its own with the lowest priority, a block at a time.

`pack` writes the new segment and its index beside the old one; `segments.give_name` then gives them their names.  Whenever the process dies,
one of the two is whole, and the other is removed at the next start.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

from lattice import checked_frames, log_records
from lattice.errors import Temporary
from services.logs import segment_index
from services.logs.index import FrameHeader, Segment, StoredBlock
from services.logs.merging import MOST_BYTES, Group, in_groups, merged
from services.logs.segment_index import BlockPlace
from services.logs.segments import INDEX, PACKED, UNFINISHED, Damaged, read_body
from services.logs.words import word_filter, words_in

# Twice a block: what a node cannot have sent is not worth the memory of its words.
_MOST_FILTERED_BYTES = 2 * MOST_BYTES
_LOWEST_PRIORITY = 19


@dataclass(slots=True)
class Packed:
    """A packed segment that has no name yet."""

    segment: Segment
    blocks: list[StoredBlock] = field(default_factory=list)


def lowest_priority() -> None:
    """For the thread that calls it: whoever takes lines in or searches goes first."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)


def pack(old: Segment, blocks: Sequence[StoredBlock], stopped: threading.Event) -> Packed:
    """Write what a closed segment becomes, on disk when it returns.  Raises Temporary where it is stopped before, Damaged
    where a block cannot be read: its bytes may still be worth something to people, so nothing takes their place."""
    path = old.path.with_suffix(PACKED)
    segment = Segment(path, old.project, old.workload_id, old.began_ns, old.newest_ns, closed=True)
    with _unfinished(path).open("wb") as file:
        places = [_write(file, group, stopped) for group in in_groups(blocks, _records)]
        segment.size_bytes = file.tell()
        _sync(file)
    index = path.with_suffix(INDEX)
    with _unfinished(index).open("wb") as file:
        file.write(segment_index.encode(places, segment.size_bytes))
        _sync(file)
    return Packed(segment, _read_back(index, segment))


def give_up(old: Path) -> None:
    """Remove what was written so far."""
    for suffix in (PACKED, INDEX):
        _unfinished(old.with_suffix(suffix)).unlink(missing_ok=True)


def _write(file: BinaryIO, group: Group, stopped: threading.Event) -> tuple[BlockPlace, bytes]:
    if stopped.is_set():
        raise Temporary("the log store is ending")
    header, body, filter_ = _as_one(group)
    encoded = header.model_dump_json().encode()
    offset = file.tell() + checked_frames.body_offset(encoded)
    file.write(checked_frames.encode(encoded, body))
    return BlockPlace(offset=offset, size=len(body), check=crc32(body), header=header), filter_


def _as_one(group: Group) -> tuple[FrameHeader, bytes, bytes]:
    """Header, body and filter; a block that stays alone is not packed again."""
    records = b"".join(group.records)
    if len(group.blocks) > 1:
        header = merged(group.blocks, records)
        return header, log_records.pack(records), _filter(header, records)
    (block,) = group.blocks
    return block.header, read_body(block), _filter(block.header, records)


def _filter(header: FrameHeader, records: bytes) -> bytes:
    if header.block.gap is not None or len(records) > _MOST_FILTERED_BYTES:
        return b""
    return word_filter(words_in(records, pieces=header.block.pieces > 0))


def _records(block: StoredBlock) -> bytes:
    return b"" if block.header.block.gap is not None else log_records.unpack(read_body(block))


def _read_back(index: Path, segment: Segment) -> list[StoredBlock]:
    """From the file, so that what queries see now is what they see after a start."""
    found = segment_index.read(_unfinished(index), segment, named=index)
    if found is None:
        raise Damaged(f"{index.name} cannot be read after it was written")
    return found


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + UNFINISHED)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
