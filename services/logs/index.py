"""What is stored, kept in memory and built from the headers at start: where each block lies, and which lines of a container are there."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from lattice.contracts.messages import LogBlock
from lattice.contracts.nouns import Noun
from services.logs.coverage import Covered, Range, covering, missing, shared


class FrameHeader(Noun):
    """What a frame says of its block; enough to answer queries about a workload that the registry has forgotten."""

    block: LogBlock
    workload_name: str
    node_name: str = ""
    stored_at_ns: int
    filter_bytes: int = Field(0, description="so many bytes at the end of the body are a word filter")


@dataclass(slots=True, eq=False)
class Segment:
    """One file of a workload; `newest_ns` is when its last block was stored.  One that is `packed` was rewritten, and grows no more."""

    path: Path
    project: str
    workload_id: str
    began_ns: int
    newest_ns: int
    size_bytes: int = 0
    packed: bool = False


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """Where a block lies, and what a query needs to know before it reads it."""

    segment: Segment
    body_offset: int
    body_size: int
    body_check: int
    header: FrameHeader

    @property
    def lines(self) -> Range:
        """The numbers of its lines."""
        return (self.header.block.first, self.header.block.last)


Source = tuple[str, str]


def source_of(block: LogBlock) -> Source:
    """The container whose lines are numbered, on its node."""
    return (block.node_id, block.source)


def _last_at(block: StoredBlock) -> int:
    return block.header.block.last_at_ns


@dataclass(slots=True)
class WorkloadLog:
    """The segments of one workload in the order of their making, and its blocks by their last line's time."""

    segments: list[Segment] = field(default_factory=list)
    blocks: list[StoredBlock] = field(default_factory=list)


@dataclass(slots=True)
class Index:
    """All workloads."""

    logs: dict[tuple[str, str], WorkloadLog] = field(default_factory=lambda: defaultdict(WorkloadLog))
    # By node and container: a node that names another's container says nothing of that one's lines.
    _covered: dict[Source, Covered] = field(default_factory=dict)

    def add_segment(self, segment: Segment) -> None:
        """A file that begins, or was found at start."""
        self.logs[segment.project, segment.workload_id].segments.append(segment)

    def add(self, block: StoredBlock) -> None:
        """A block that is on disk."""
        segment, source = block.segment, source_of(block.header.block)
        insort(self.logs[segment.project, segment.workload_id].blocks, block, key=_last_at)
        self._covered[source] = covering(self._covered.get(source, ()), block.lines)

    def missing(self, source: Source, lines: Range) -> list[Range]:
        """Which of these lines of a container are not stored yet."""
        return missing(self._covered.get(source, ()), lines)

    def stored(self, source: Source, lines: Range) -> list[Range]:
        """Which of these lines of a container are stored, or were and are too old by now."""
        return shared(self._covered.get(source, ()), lines)

    def growing(self, project: str, workload_id: str) -> Segment | None:
        """The segment to which the next block of a workload belongs, if there is one."""
        log = self.logs.get((project, workload_id))
        return log.segments[-1] if log and log.segments and not log.segments[-1].packed else None

    def segments(self) -> Iterator[tuple[Segment, bool]]:
        """Every segment, and whether it is its workload's newest."""
        for log in self.logs.values():
            for segment in log.segments:
                yield segment, segment is log.segments[-1]

    def blocks(self, project: str, workload_id: str) -> list[StoredBlock]:
        """The blocks of a workload, the one with the newest line last; a copy, so that it can be read in a thread."""
        log = self.logs.get((project, workload_id))
        return [] if log is None else list(log.blocks)

    def name_of(self, project: str, workload_id: str) -> str:
        """What a workload is, or was, called."""
        log = self.logs.get((project, workload_id))
        return log.blocks[-1].header.workload_name if log and log.blocks else ""

    def replace(self, old: Segment, new: Segment, blocks: Sequence[StoredBlock]) -> bool:
        """Have a rewritten segment in place of the one whose lines it has; False if that one was let go meanwhile."""
        log = self.logs.get((old.project, old.workload_id))
        if log is None or old not in log.segments:
            return False
        log.segments[log.segments.index(old)] = new
        kept = [block for block in log.blocks if block.segment is not old]
        log.blocks = sorted([*kept, *blocks], key=_last_at)
        return True

    def remove(self, segment: Segment) -> None:
        """Forget a segment.  Lines of a container that is still known stay covered: an old message cannot bring them back."""
        key = (segment.project, segment.workload_id)
        log = self.logs[key]
        gone = {source_of(block.header.block) for block in log.blocks if block.segment is segment}
        log.segments.remove(segment)
        log.blocks = [block for block in log.blocks if block.segment is not segment]
        for source in gone - {source_of(block.header.block) for block in log.blocks}:
            del self._covered[source]
        if not log.segments:
            del self.logs[key]
