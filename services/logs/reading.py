"""Reading a block for a query, also one whose segment was packed after the query had looked at the index."""

from __future__ import annotations

from collections.abc import Callable

from lattice import log_records
from lattice.number_ranges import Range
from services.logs.index import Index, StoredBlock
from services.logs.segments import SUFFIX, read_body


class Reader:
    """Reads in any thread."""

    def __init__(self, index: Index, elsewhere: Callable[[StoredBlock], bytes] | None = None) -> None:
        self._index = index
        self._elsewhere = elsewhere

    def body(self, block: StoredBlock) -> bytes:
        """The body of a block.  Damaged if it is not what was written, FileNotFoundError if its segment was let go meanwhile,
        Temporary if the object store has it and is away."""
        try:
            return read_body(block)
        except FileNotFoundError:
            return self._not_here(block)

    def records(self, block: StoredBlock) -> bytes:
        """What a block holds; nothing of a gap.  Raises as `body`, and Invalid."""
        return b"" if block.header.block.gap is not None else log_records.unpack(self.body(block))

    def _not_here(self, block: StoredBlock) -> bytes:
        if block.segment.path.suffix == SUFFIX:
            return self._from_its_place(block)
        if self._elsewhere is None:
            raise FileNotFoundError(f"{block.segment.path} is neither here nor in an object store")
        return self._elsewhere(block)

    def _from_its_place(self, gone: StoredBlock) -> bytes:
        """The same records out of the blocks into which they were merged."""
        records, first = [], gone.lines[0]
        for block in self._now(gone):
            part = (first, min(block.lines[1], gone.lines[1]))
            if block.lines[0] > first:
                break
            records.append(log_records.cut(log_records.unpack(self.body(block)), block.lines[0], part))
            first = part[1] + 1
        if first <= gone.lines[1]:
            raise FileNotFoundError(f"lines {gone.lines} of {gone.container} were let go")
        return log_records.pack(b"".join(records))

    def _now(self, gone: StoredBlock) -> list[StoredBlock]:
        blocks = self._index.blocks(gone.segment.project, gone.segment.workload_id)
        same = [
            block
            for block in blocks
            if block.container == gone.container
            and block.segment is not gone.segment
            and _overlap(block.lines, gone.lines)
        ]
        return sorted(same, key=lambda block: block.lines)


def _overlap(left: Range, right: Range) -> bool:
    return left[0] <= right[1] and right[0] <= left[1]
