"""Which blocks a query looks at, the one with the newest line first, and their records, unpacked a little ahead on both cores.

zstd unpacks without holding the interpreter, so while one block is searched the next ones are unpacked beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future
from heapq import merge
from itertools import islice

from lattice.contracts.messages import PLATFORM, QueryLogs
from services.logs.index import Index, StoredBlock
from services.logs.query import Records

# Of a search that ends with its first block nothing was read in vain; one that goes on has its hands full.
_FIRST_AHEAD, _MOST_AHEAD = 1, 4


def blocks_of(index: Index, query: QueryLogs) -> list[list[StoredBlock]]:
    """The blocks of each workload that is asked for, in the order of their last lines; copies, so that they can be read in a thread."""
    return [
        index.blocks(project, workload_id)
        for project, workload_id in list(index.logs)
        if _is_in_project(project, query) and _is_asked_for(index, project, workload_id, query)
    ]


def newest_first(logs: Iterable[list[StoredBlock]]) -> Iterator[StoredBlock]:
    """The blocks of several workloads as one."""
    return merge(*(reversed(blocks) for blocks in logs), key=lambda block: -block.header.block.last_at_ns)


def read_ahead(
    found: Iterable[StoredBlock], unpack: Callable[[StoredBlock], bytes], pool: Executor
) -> Generator[tuple[StoredBlock, Records], None, None]:
    """Each block with its records, which are being unpacked already when it comes."""
    coming, ahead = iter(found), _FIRST_AHEAD
    waiting: deque[tuple[StoredBlock, Future[bytes]]] = deque()
    try:
        while True:
            for block in islice(coming, ahead - len(waiting)):
                waiting.append((block, pool.submit(unpack, block)))
            if not waiting:
                return
            block, future = waiting.popleft()
            yield block, future.result
            ahead = min(2 * ahead, _MOST_AHEAD)
    finally:
        for _, future in waiting:
            future.cancel()


def _is_in_project(project: str, query: QueryLogs) -> bool:
    """What the platform says of itself is in no project, and not in all of them either."""
    return project == query.project or (query.project is None and project != PLATFORM)


def _is_asked_for(index: Index, project: str, workload_id: str, query: QueryLogs) -> bool:
    if not query.workload_ids and not query.workload_names:
        return True
    return workload_id in query.workload_ids or index.name_of(project, workload_id) in query.workload_names
