"""The log store: takes blocks in, each line once, and finds them again.

Blocks are appended as they came, many at once and with one fsync per workload.  `write` and `read_body` may run in a thread, one `write` at
a time; what they found out reaches the index with `learn`, on the loop that answers queries.
"""

from __future__ import annotations

import fcntl
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lattice import log_records
from lattice.contracts.messages import LogBlock, LogGap
from lattice.errors import Invalid, LatticeError, Temporary
from services.logs import frames, segments
from services.logs.coverage import Covered, Range, covering, missing
from services.logs.frames import Damage, Frame
from services.logs.index import FrameHeader, Index, Segment, Source, StoredBlock, source_of
from services.logs.retention import Kept, Removal

_NS = 10**9


@dataclass(frozen=True, slots=True)
class Limits:
    """When a segment is full."""

    segment_bytes: int
    segment_age_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Incoming:
    """A block that arrived, of a workload that is known by this name."""

    block: LogBlock
    workload_name: str
    body: bytes
    node_name: str = ""


@dataclass(slots=True)
class Outcome:
    """What became of one block: what was stored of it (nothing of a repeated one), or why it could not be."""

    stored: list[StoredBlock] = field(default_factory=list)
    error: LatticeError | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Damage that was found in a segment at start; `cut` says that it was a torn tail and is gone."""

    path: Path
    damage: Damage
    cut: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """A part of an incoming block that is not stored yet."""

    incoming: Incoming
    block: LogBlock
    body: bytes


class LogStore:
    """The segments below one directory; a second process is refused."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self.index = Index()
        self.damage: list[Found] = []
        self._root = root
        self._limits = limits
        self._lock = _take_directory(root)
        for project, workload_id, paths in segments.list_workloads(root):
            for path in paths:
                self._load(path, project, workload_id, newest=path is paths[-1])

    def close(self) -> None:
        """Let another process have the directory."""
        os.close(self._lock)

    def write(self, batch: Sequence[Incoming], now_ns: int) -> list[Outcome]:
        """Store what is new of these blocks; on disk when it returns.  The index does not change before `learn`."""
        outcomes = {id(incoming): Outcome() for incoming in batch}
        by_workload: dict[tuple[str, str], list[_Piece]] = defaultdict(list)
        covered: dict[Source, Covered] = {}
        for incoming in batch:
            try:
                for piece in self._new_pieces(incoming, covered):
                    by_workload[piece.block.project, piece.block.workload_id].append(piece)
            except Invalid as error:
                outcomes[id(incoming)].error = error
        for (project, workload_id), pieces in by_workload.items():
            self._append(project, workload_id, pieces, outcomes, now_ns)
        return [outcomes[id(incoming)] for incoming in batch]

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Let queries see what `write` has stored."""
        for outcome in outcomes:
            for stored in outcome.stored:
                known = self.index.growing(stored.segment.project, stored.segment.workload_id)
                if known is not stored.segment:
                    self.index.add_segment(stored.segment)
                self.index.add(stored)

    def kept(self) -> list[Kept]:
        """All segments, for the retention to decide on."""
        return [
            Kept(segment.path, segment.project, segment.size_bytes, segment.newest_ns, growing)
            for segment, growing in self.index.segments()
        ]

    def remove(self, removals: Sequence[Removal]) -> None:
        """Let segments go."""
        going = {removal.path for removal in removals}
        for segment in [segment for segment, _ in self.index.segments() if segment.path in going]:
            self.index.remove(segment)
            segments.remove(segment.path)

    def _load(self, path: Path, project: str, workload_id: str, *, newest: bool) -> None:
        found = segments.read_frames(path, newest=newest)
        torn = segments.cut_torn_tail(path, found) if newest else None
        if torn is not None:
            self.damage.append(Found(path, torn, cut=True))
        self.damage.extend(Found(path, one, cut=False) for one in found if isinstance(one, Damage))
        began_ns, size_bytes = segments.began_ns(path), path.stat().st_size
        segment = Segment(
            path, project, workload_id, began_ns, began_ns, size_bytes, packed=segments.is_packed(path)
        )
        self.index.add_segment(segment)
        for frame in found:
            if isinstance(frame, Frame):
                self.index.add(_stored(segment, frame))

    def _new_pieces(self, incoming: Incoming, covered: dict[Source, Covered]) -> Iterator[_Piece]:
        """What of a block is neither stored nor in this batch already."""
        block, lines = incoming.block, (incoming.block.first, incoming.block.last)
        source = source_of(block)
        check(block, incoming.body)
        gaps = [
            gap
            for fresh in self.index.missing(source, lines)
            for gap in missing(covered.get(source, ()), fresh)
        ]
        for gap in gaps:
            yield _piece(incoming, gap)
        covered[source] = covering(covered.get(source, ()), lines)

    def _append(
        self,
        project: str,
        workload_id: str,
        pieces: list[_Piece],
        outcomes: dict[int, Outcome],
        now_ns: int,
    ) -> None:
        segment = self._segment(project, workload_id, now_ns)
        chunks, stored, offset = [], [], segment.size_bytes
        for piece in pieces:
            header = FrameHeader(
                block=piece.block,
                workload_name=piece.incoming.workload_name,
                node_name=piece.incoming.node_name,
                stored_at_ns=now_ns,
            )
            chunk = frames.encode(header.model_dump_json().encode(), piece.body)
            chunks.append(chunk)
            frame = frames.frame_at(chunk, 0)
            assert frame is not None, "a frame that was just made is intact"
            stored.append(
                (
                    piece,
                    StoredBlock(
                        segment, offset + frame.body_offset, frame.body_size, frame.body_check, header
                    ),
                )
            )
            offset += len(chunk)
        try:
            segments.append(segment.path, segment.size_bytes, chunks)
        except OSError as error:
            for piece in pieces:
                outcomes[id(piece.incoming)].error = Temporary(f"The log store cannot write: {error}")
            return
        segment.size_bytes, segment.newest_ns = offset, now_ns
        for piece, block in stored:
            outcomes[id(piece.incoming)].stored.append(block)

    def _segment(self, project: str, workload_id: str, now_ns: int) -> Segment:
        growing = self.index.growing(project, workload_id)
        if growing is not None and not self._full(growing, now_ns):
            return growing
        path = segments.new_path(self._root, project, workload_id, now_ns)
        return Segment(path, project, workload_id, now_ns, now_ns)

    def _full(self, segment: Segment, now_ns: int) -> bool:
        old = now_ns - segment.began_ns > self._limits.segment_age_s * _NS
        return old or segment.size_bytes >= self._limits.segment_bytes


def _take_directory(root: Path) -> int:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise LatticeError(
            f"Another process keeps its logs in {root}: give each its own directory."
        ) from error
    return descriptor


def _stored(segment: Segment, frame: Frame) -> StoredBlock:
    header = FrameHeader.model_validate_json(frame.header)
    segment.newest_ns = max(segment.newest_ns, header.stored_at_ns)
    return StoredBlock(segment, frame.body_offset, frame.body_size, frame.body_check, header)


def _piece(incoming: Incoming, lines: Range) -> _Piece:
    block = incoming.block
    if lines == (block.first, block.last):
        return _Piece(incoming, block, incoming.body)
    if block.gap is not None:
        return _Piece(incoming, _part_of_gap(block, lines), b"")
    records = log_records.cut(log_records.unpack(incoming.body), block.first, lines)
    first_at_ns, last_at_ns = log_records.first_and_last_ns(records)
    changes = {
        "first": lines[0], "last": lines[1], "first_at_ns": first_at_ns, "last_at_ns": last_at_ns,
        "pieces": log_records.count_pieces(records),
    }  # fmt: skip
    return _Piece(incoming, block.model_copy(update=changes), log_records.pack(records))


def _part_of_gap(block: LogBlock, lines: Range) -> LogBlock:
    """A gap of which some lines came after all."""
    gap = LogGap.model_validate({**dict(block.gap or {}), "lines": lines[1] - lines[0] + 1})
    return block.model_copy(update={"first": lines[0], "last": lines[1], "gap": gap})


def check(block: LogBlock, body: bytes) -> None:
    """Invalid unless the block has exactly the records that its description numbers, or is a gap and has none."""
    numbered = block.last - block.first + 1
    if block.gap is not None:
        if body or numbered != (1 if block.gap.lines is None else block.gap.lines) or block.first < 0:
            raise Invalid(
                f"A gap of {block.gap.lines} lines is numbered {block.first} to {block.last} and has {len(body)} bytes."
            )
        return
    records = log_records.unpack(body)
    found = log_records.count(records)
    if block.first < 0 or found == 0 or found != numbered or not records.endswith(b"\n"):
        raise Invalid(
            f"The block holds {found} whole records and is said to hold {block.first} to {block.last}."
        )
