"""Reading a block for a query, also one whose segment was packed after the query had looked at the index."""

from __future__ import annotations

from lattice import log_records
from services.logs.coverage import Range
from services.logs.index import Index, StoredBlock
from services.logs.segments import read_body


class Reader:
    """Reads in any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def body(self, block: StoredBlock) -> bytes:
        """The body of a block.  Damaged if it is not what was written, FileNotFoundError if its segment was let go meanwhile."""
        try:
            return read_body(block)
        except FileNotFoundError:
            return self._from_its_place(block)

    def _from_its_place(self, gone: StoredBlock) -> bytes:
        """The same records out of the blocks into which they were merged."""
        records, first = [], gone.lines[0]
        for block in self._now(gone):
            part = (first, min(block.lines[1], gone.lines[1]))
            if block.lines[0] > first:
                break
            records.append(log_records.cut(log_records.unpack(read_body(block)), block.lines[0], part))
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
