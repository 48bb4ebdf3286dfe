"""The log store: takes blocks in, each line once, and finds them again.

Blocks are appended as they came, many at once and with one fsync per workload.  `write`, `pack` and `read` may run in a thread, one `write`
at a time; what they found out reaches the index with `learn` and `packed`, on the loop that answers queries.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from loguru import logger

from lattice import checked_frames
from lattice.contracts.messages import LogBlock
from lattice.errors import Invalid, LatticeError, Temporary
from lattice.number_ranges import Ranges, added, missing
from lattice.own_directory import take_directory
from services.logs import compaction, loading, segments
from services.logs.compaction import Packed
from services.logs.index import Container, FrameHeader, Index, Segment, StoredBlock, container_of
from services.logs.pieces import Incoming, Piece, check, pieces, records_of
from services.logs.retention import Kept, Limits, Removal, is_full

__all__ = ["Incoming", "Limits", "LogStore", "Outcome", "check"]

# So many fsyncs wait for the disk at once, which then does several with one flush.
_FILES_AT_ONCE = 8


@dataclass(slots=True)
class Outcome:
    """What became of one block: what was stored of it (nothing of a repeated one), or why it could not be."""

    block: LogBlock
    stored: list[StoredBlock] = field(default_factory=list)
    error: LatticeError | None = None


@dataclass(slots=True)
class _Work:
    """What one workload adds to its segment."""

    pieces: list[Piece] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    blocks: list[StoredBlock] = field(default_factory=list)


class LogStore:
    """The segments below one directory; a second process is refused."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self.index = Index()
        self._root = root
        self._limits = limits
        self._lock = take_directory(root)
        self._appending = ThreadPoolExecutor(_FILES_AT_ONCE, "append")
        self.damage = loading.load(root, self.index)
        # They stay as they are: what is damaged is still there for people, and of a full disk nobody tries for ever.
        self._failed = {found.path for found in self.damage if not found.cut}

    def close(self) -> None:
        """Let another process have the directory."""
        self._appending.shutdown()
        os.close(self._lock)

    # -------------------------------------------------------------------------------- taking in

    def write(self, batch: Sequence[Incoming], now_ns: int) -> list[Outcome]:
        """Store what is new of these blocks; on disk when it returns.  The index does not change before `learn`."""
        outcomes = {id(incoming): Outcome(incoming.block) for incoming in batch}
        by_workload: dict[tuple[str, str], _Work] = defaultdict(_Work)
        covered: dict[Container, Ranges] = {}
        for incoming in batch:
            try:
                for piece in self._new_pieces(incoming, covered):
                    by_workload[piece.block.project, piece.block.workload_id].pieces.append(piece)
            except Invalid as error:
                outcomes[id(incoming)].error = error
        works = by_workload.values()
        # A thread for one file would only cost.
        run = map if len(works) == 1 else self._appending.map
        for work in run(lambda work: self._append(work, now_ns), works):
            for piece, block in zip(work.pieces, work.blocks, strict=False):
                outcomes[id(piece.incoming)].stored.append(block)
        return [outcomes[id(incoming)] for incoming in batch]

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Let queries see what `write` has stored.  What is still missing of a block could not be written, of a repeated one too."""
        for stored in (stored for outcome in outcomes for stored in outcome.stored):
            known = self.index.growing(stored.segment.project, stored.segment.workload_id)
            if known is not stored.segment:
                self.index.add_segment(stored.segment)
            self.index.add(stored)
        for outcome in outcomes:
            if outcome.error is None and self._missing(outcome.block):
                outcome.error = Temporary("The log store cannot write: its log says why.")

    def _missing(self, block: LogBlock) -> bool:
        return bool(self.index.missing(container_of(block), (block.first, block.last)))

    def _new_pieces(self, incoming: Incoming, covered: dict[Container, Ranges]) -> list[Piece]:
        """What of a block is neither stored nor in this batch already."""
        block, container = incoming.block, container_of(incoming.block)
        records, lines = records_of(incoming), (block.first, block.last)
        here = covered.get(container, ())
        new = [gap for fresh in self.index.missing(container, lines) for gap in missing(here, fresh)]
        found = list(pieces(incoming, new, records))
        covered[container] = added(here, lines)
        return found

    def _append(self, work: _Work, now_ns: int) -> _Work:
        """Add a workload's pieces to its segment; of a disk that takes nothing, no block is there."""
        segment = self._segment(work.pieces[0].block, now_ns)
        offset = segment.size_bytes
        for piece in work.pieces:
            chunk, block = _frame(piece, segment, offset, now_ns)
            work.chunks.append(chunk)
            work.blocks.append(block)
            offset += len(chunk)
        try:
            segments.append(segment.path, segment.size_bytes, work.chunks)
        except OSError as error:
            logger.error("nothing can be added to {}: {}", segment.path, error)
            work.blocks.clear()
        else:
            segment.size_bytes, segment.newest_ns = offset, now_ns
        return work

    def _segment(self, block: LogBlock, now_ns: int) -> Segment:
        growing = self.index.growing(block.project, block.workload_id)
        if growing is not None and not self._full(growing, now_ns):
            return growing
        # The newest segment has the last name even where the clock was set back: after a crash it is the one whose end is verified.
        began_ns = now_ns if growing is None else max(now_ns, growing.began_ns + 1)
        path = segments.new_path(self._root, block.project, block.workload_id, began_ns)
        return Segment(path, block.project, block.workload_id, began_ns, now_ns)

    def _full(self, segment: Segment, now_ns: int) -> bool:
        return segment.closed or is_full(segment.began_ns, segment.size_bytes, self._limits, now_ns)

    # -------------------------------------------------------------------------------- letting go

    def kept(self) -> list[Kept]:
        """All segments, for the retention to decide on."""
        return [
            Kept(
                segment.path,
                segment.project,
                segment.size_bytes + segment.index_bytes,
                segment.newest_ns,
                growing,
            )
            for segment, growing in self.index.segments()
        ]

    def remove(self, removals: Sequence[Removal]) -> None:
        """Let segments go."""
        going = {removal.path for removal in removals}
        for segment in [segment for segment, _ in self.index.segments() if segment.path in going]:
            self.index.remove(segment)
            segments.remove(segment.path)

    # -------------------------------------------------------------------------------- packing

    def close_next(self, now_ns: int) -> tuple[Segment, list[StoredBlock]] | None:
        """A segment that is full or followed by another and not packed yet: nothing is added to it from now on."""
        for segment, growing in self.index.segments():
            unpacked = segment.path.suffix == segments.SUFFIX and segment.path not in self._failed
            if unpacked and (not growing or self._full(segment, now_ns)):
                segment.closed = True
                return segment, self.index.of(segment)
        return None

    def pack(self, closed: Segment, blocks: Sequence[StoredBlock], stopped: threading.Event) -> Packed | None:
        """Write what becomes of a closed segment; None where it cannot be written, or cannot be read: then it stays as it is."""
        try:
            return compaction.pack(closed, blocks, stopped)
        except (OSError, LatticeError) as error:
            logger.warning("{} stays as it is: {}", closed.path, error)
            compaction.give_up(closed.path)
            self._failed.add(closed.path)
            return None

    def packed(self, old: Segment, found: Packed) -> None:
        """Put a packed segment in the place of the old one, unless that was let go meanwhile."""
        if all(segment is not old for segment, _ in self.index.segments()):
            compaction.give_up(old.path)
            return
        segments.give_name(found.segment.path)
        self.index.replace(old, found.segment, found.blocks)
        old.path.unlink()  # a query that still wants it finds its lines in the new one

    # -------------------------------------------------------------------------------- the object store

    def name_of(self, path: Path) -> str:
        """What a segment is called in an object store."""
        return path.relative_to(self._root).as_posix()

    def packed_here(self) -> list[Segment]:
        """The packed segments on this disk."""
        found = (segment for segment, _ in self.index.segments())
        return [segment for segment in found if segment.path.suffix == segments.PACKED and not segment.remote]

    def drop_local(self, path: Path) -> None:
        """Let a local copy go; the index stays."""
        for segment in self.packed_here():
            if segment.path == path:
                segment.remote = True
                path.unlink(missing_ok=True)


def _frame(piece: Piece, segment: Segment, offset: int, now_ns: int) -> tuple[bytes, StoredBlock]:
    """The bytes of a piece, and where they will be."""
    header = FrameHeader(
        block=piece.block,
        workload_name=piece.incoming.workload_name,
        node_name=piece.incoming.node_name,
        stored_at_ns=now_ns,
    )
    encoded = header.model_dump_json().encode()
    body = piece.body
    place = StoredBlock(segment, offset + checked_frames.body_offset(encoded), len(body), crc32(body), header)
    return checked_frames.encode(encoded, body), place
