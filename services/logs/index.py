"""What is stored, kept in memory and built from the headers at start: where each block lies, and which lines of a container are there."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lattice.contracts.messages import LogBlock
from lattice.contracts.nouns import Noun
from lattice.number_ranges import Range, Ranges, added, inside, missing
from services.logs.filters import FilterPlace

# A container of a node.  Numbers of one node's container say nothing of another's: a node speaks for itself alone.
Container = tuple[str, str]


class FrameHeader(Noun):
    """What a frame says of its block; enough to answer queries about a workload that the registry has forgotten."""

    block: LogBlock
    workload_name: str
    node_name: str = ""
    stored_at_ns: int


@dataclass(slots=True, eq=False)
class Segment:
    """One file of a workload; `newest_ns` is when its last block was stored.  To one that is closed nothing is added any more."""

    path: Path
    project: str
    workload_id: str
    began_ns: int
    newest_ns: int
    size_bytes: int = 0
    closed: bool = False
    index_bytes: int = 0
    # The object store has it, and this disk only its index.
    remote: bool = False


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """Where a block lies, and what a query needs to know before it reads it."""

    segment: Segment
    body_offset: int
    body_size: int
    body_check: int
    header: FrameHeader
    words: FilterPlace | None = None

    @property
    def lines(self) -> Range:
        """The numbers of its lines."""
        return (self.header.block.first, self.header.block.last)

    @property
    def container(self) -> Container:
        """Whose lines they are."""
        return container_of(self.header.block)

    def may_contain(self, words: Sequence[str]) -> bool:
        """Whether all of these words (`words.words_of`) may be in it; True where nobody has looked yet.  Reads a few KiB."""
        return not words or self.words is None or self.words.may_hold(words)


def container_of(block: LogBlock) -> Container:
    """Whose numbers a block has."""
    return block.node_id, block.source


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
    _covered: dict[Container, Ranges] = field(default_factory=dict)

    def add_segment(self, segment: Segment) -> None:
        """A file that begins, or was found at start."""
        self.logs[segment.project, segment.workload_id].segments.append(segment)

    def add(self, block: StoredBlock) -> None:
        """A block that is on disk."""
        segment, container = block.segment, block.container
        insort(self.logs[segment.project, segment.workload_id].blocks, block, key=_last_at)
        self._covered[container] = added(self._covered.get(container, ()), block.lines)

    def missing(self, container: Container, lines: Range) -> list[Range]:
        """Which of these lines of a container are not stored yet."""
        return missing(self._covered.get(container, ()), lines)

    def stored(self, container: Container, lines: Range) -> list[Range]:
        """Which of these lines of a container are stored."""
        return inside(self._covered.get(container, ()), lines)

    def sources(self) -> set[Container]:
        """The containers of which something is stored."""
        return set(self._covered)

    def growing(self, project: str, workload_id: str) -> Segment | None:
        """The segment to which the next block of a workload belongs, if there is one."""
        log = self.logs.get((project, workload_id))
        return log.segments[-1] if log and log.segments else None

    def segments(self) -> Iterator[tuple[Segment, bool]]:
        """Every segment, and whether it is its workload's newest."""
        for log in self.logs.values():
            for segment in log.segments:
                yield segment, segment is log.segments[-1]

    def blocks(self, project: str, workload_id: str) -> list[StoredBlock]:
        """The blocks of a workload, the one with the newest line last; a copy, so that it can be read in a thread."""
        log = self.logs.get((project, workload_id))
        return [] if log is None else list(log.blocks)

    def blocks_in(self, paths: Collection[Path]) -> list[StoredBlock]:
        """The blocks of some segments."""
        return (
            [block for log in self.logs.values() for block in log.blocks if block.segment.path in paths]
            if paths
            else []
        )

    def name_of(self, project: str, workload_id: str) -> str:
        """What a workload is, or was, called."""
        log = self.logs.get((project, workload_id))
        return log.blocks[-1].header.workload_name if log and log.blocks else ""

    def of(self, segment: Segment) -> list[StoredBlock]:
        """The blocks of a segment."""
        return [
            block for block in self.blocks(segment.project, segment.workload_id) if block.segment is segment
        ]

    def replace(self, old: Segment, new: Segment, blocks: Sequence[StoredBlock]) -> None:
        """Let queries see what was made of a segment in its place."""
        log = self.logs[old.project, old.workload_id]
        log.segments[log.segments.index(old)] = new
        log.blocks = sorted(
            [*(block for block in log.blocks if block.segment is not old), *blocks], key=_last_at
        )

    def remove(self, segment: Segment) -> None:
        """Forget a segment.  Lines of a container that is still known stay covered: an old message cannot bring them back."""
        key = (segment.project, segment.workload_id)
        log = self.logs[key]
        gone = {block.container for block in log.blocks if block.segment is segment}
        log.segments.remove(segment)
        log.blocks = [block for block in log.blocks if block.segment is not segment]
        for container in gone - {block.container for block in log.blocks}:
            del self._covered[container]
        if not log.segments:
            del self.logs[key]
