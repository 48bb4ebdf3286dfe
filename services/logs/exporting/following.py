"""What of the store a sink does not have yet.

The workloads are looked at one after the other, and only those in which something has changed since: a sink that has everything costs next
to nothing, however much is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from services.logs.exporting.batches import Pending
from services.logs.exporting.cursor import Cursor
from services.logs.exporting.sinks import Sink
from services.logs.index import Index, StoredBlock, WorkloadLog, container_of

Key = tuple[str, str]
State = tuple[int, int, int]


class Following:
    """Of one sink."""

    def __init__(self, index: Index, sink: Sink, cursor: Cursor) -> None:
        self._index, self._sink, self._cursor = index, sink, cursor
        self._done: dict[Key, State] = {}

    def changed(self) -> list[tuple[Key, State]]:
        """The workloads in which there may be something new."""
        found = {key: _state(log) for key, log in self._index.logs.items() if self._sink.wants(key[0])}
        self._done = {key: state for key, state in self._done.items() if key in found}
        return [(key, state) for key, state in found.items() if self._done.get(key) != state]

    def pending(self, key: Key) -> list[Pending]:
        """The blocks of a workload that the sink does not have, the one with the oldest lines first."""
        return [(block, left) for block in self._index.blocks(*key) if (left := self._left(block))]

    def looked_through(self, key: Key, state: State) -> None:
        """The sink has all that there was of a workload."""
        self._done[key] = state

    def lost_with(self, blocks: Iterable[StoredBlock]) -> Iterator[Pending]:
        """What of blocks that are let go the sink never had."""
        for block in blocks:
            if self._sink.wants(block.segment.project) and (left := self._left(block)):
                yield block, left

    def _left(self, block: StoredBlock) -> list[tuple[int, int]]:
        return self._cursor.missing(container_of(block.header.block), block.lines)


def _state(log: WorkloadLog) -> State:
    """Different whenever a block was added."""
    newest_ns = max((segment.newest_ns for segment in log.segments), default=0)
    return len(log.blocks), newest_ns, sum(segment.size_bytes for segment in log.segments)
