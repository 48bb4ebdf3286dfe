"""Answers queries: a few at once, each in a thread of its own and for a bounded time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain

from lattice.clock import Clock
from lattice.contracts.messages import CountLogs, ListedLogs, LogCounts, LogLines, QueryLogs
from lattice.log_matching import LineMatcher
from services.logs import metrics
from services.logs.candidates import blocks_of, newest_first, read_ahead
from services.logs.counting import count, query_of
from services.logs.index import Index, StoredBlock
from services.logs.listing import listed
from services.logs.newest_page import newest_page
from services.logs.query import search, wanted
from services.logs.reading import Reader

_QUERIES_AT_ONCE = 4
_UNPACK_AT_ONCE = 2
# So long a search looks before it answers what it has and from where to go on: who went away is searched for no longer than this.
SEARCH_S = 2.0


class Querying:
    """Answers from an index; `close` ends its threads."""

    def __init__(self, index: Index, clock: Clock, reader: Reader) -> None:
        self._index, self._clock, self._reader = index, clock, reader
        self._places = asyncio.Semaphore(_QUERIES_AT_ONCE)
        self._pool = ThreadPoolExecutor(_UNPACK_AT_ONCE, thread_name_prefix="unpack")

    async def query(self, request: QueryLogs) -> LogLines:
        """The newest matching lines, also of workloads that were removed."""
        matcher, logs = LineMatcher(request), blocks_of(self._index, request)
        async with self._places:
            with metrics.QUERY_SECONDS.time():
                answer = await asyncio.to_thread(self._search, logs, request, matcher)
        return answer.model_copy(update={"known": bool(logs)})

    async def count(self, request: CountLogs) -> LogCounts:
        """How many lines match, by time and label."""
        query = query_of(request)
        matcher, logs = LineMatcher(query), blocks_of(self._index, query)
        async with self._places:
            with metrics.QUERY_SECONDS.time():
                return await asyncio.to_thread(self._count, logs, request, query, matcher)

    async def list_logs(self, request: QueryLogs) -> ListedLogs:
        """Whose lines there are, as far as that is known without reading them."""
        matcher, logs = LineMatcher(request), blocks_of(self._index, request)
        chosen = wanted(chain.from_iterable(logs), matcher)
        return await asyncio.to_thread(listed, chosen)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _search(self, logs: list[list[StoredBlock]], request: QueryLogs, matcher: LineMatcher) -> LogLines:
        until_s = self._clock.monotonic_s() + SEARCH_S
        simple = newest_page(wanted(newest_first(logs), matcher), matcher, self._reader.records)
        if simple is not None:
            return simple
        chosen = wanted(newest_first(logs), matcher)
        with closing(read_ahead(chosen, self._reader.records, self._pool)) as found:
            return search(found, request, matcher, lambda: self._clock.monotonic_s() > until_s)

    def _count(
        self, logs: list[list[StoredBlock]], request: CountLogs, query: QueryLogs, matcher: LineMatcher
    ) -> LogCounts:
        until_s = self._clock.monotonic_s() + SEARCH_S
        chosen = wanted(newest_first(logs), matcher)
        with closing(read_ahead(chosen, self._reader.records, self._pool)) as found:
            return count(found, request, matcher, lambda: self._clock.monotonic_s() > until_s)
