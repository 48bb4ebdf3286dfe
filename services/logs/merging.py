"""Which blocks of a closed segment become one: neighbours of the same container, up to 512 KiB of records.  Pure.

A node that prints little sends small blocks, each of them packed and numbered by itself; together they take less room and are searched faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lattice import log_records
from lattice.contracts.messages import LogBlock
from services.logs.index import FrameHeader, StoredBlock

MOST_BYTES = 512 * 1024


@dataclass(slots=True)
class Group:
    """Blocks that become one, and their records; of a gap, or a block that stays as it is, the only one."""

    blocks: list[StoredBlock] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    size_bytes: int = 0

    def add(self, block: StoredBlock, records: bytes) -> None:
        self.blocks.append(block)
        self.records.append(records)
        self.size_bytes += len(records)

    def takes(self, block: StoredBlock, records: bytes) -> bool:
        """Whether a block may follow in this group."""
        if not self.blocks:
            return True
        return follows(self.blocks[-1], block) and self.size_bytes + len(records) <= MOST_BYTES


def in_groups(blocks: Iterable[StoredBlock], records_of: Callable[[StoredBlock], bytes]) -> Iterator[Group]:
    """The blocks in the order of their containers and numbers."""
    group = Group()
    for block in sorted(blocks, key=lambda block: (block.container, block.lines)):
        records = records_of(block)
        if not group.takes(block, records):
            yield group
            group = Group()
        group.add(block, records)
    if group.blocks:
        yield group


def follows(before: StoredBlock, after: StoredBlock) -> bool:
    """Whether the second block goes on where the first ends, with lines of the same instance."""
    same = _identity(before.header) == _identity(after.header) and before.lines[1] + 1 == after.lines[0]
    return same and before.header.block.gap is None and after.header.block.gap is None


def merged(blocks: Sequence[StoredBlock], records: bytes) -> FrameHeader:
    """What is said of the blocks as one."""
    first, last = blocks[0].header, blocks[-1].header
    changes = {
        "last": last.block.last,
        "first_at_ns": min(block.header.block.first_at_ns for block in blocks),
        "last_at_ns": max(block.header.block.last_at_ns for block in blocks),
        "pieces": last.block.last - first.block.first + 1 - log_records.count_lines(records),
    }
    stored_at_ns = max(block.header.stored_at_ns for block in blocks)
    block: LogBlock = first.block.model_copy(update=changes)
    return FrameHeader(block=block, workload_name=last.workload_name, stored_at_ns=stored_at_ns)


def _identity(header: FrameHeader) -> tuple[str, str, str, int, int]:
    block = header.block
    return block.node_id, block.source, block.instance_id, block.slot, block.epoch
