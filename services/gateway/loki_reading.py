"""Asks the log store for what a Loki query needs, page by page and for a bounded time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson

from lattice.contracts import catalogue
from lattice.contracts.messages import CountLogs, ListedLog, QueryLogs
from lattice.contracts.messages.log_queries import MOST_LINES
from lattice.errors import Invalid
from services.gateway.call import Call
from services.gateway.log_lines import json_lines
from services.gateway.logql import Counting
from services.gateway.loki_answers import LABELS
from services.gateway.loki_query import as_query
from services.gateway.loki_windows import Points, Windows, points, value_in

# Grafana waits for half a minute.
LONGEST_S = 20.0

Line = dict[str, Any]


async def newest(call: Call, query: QueryLogs) -> list[Line]:
    """The newest lines, the newest first."""
    found: list[Line] = []
    async for page in _pages(call, query):
        found += page
        if len(found) >= query.limit:
            break
    return found[: query.limit]


async def oldest(call: Call, query: QueryLogs) -> list[Line]:
    """The oldest lines of the time that is asked for, the oldest first.  The store answers the newest ones first, so all are gone through."""
    found: list[Line] = []
    async for page in _pages(call, query.model_copy(update={"limit": MOST_LINES})):
        found = (found + page)[-query.limit :]
    return found[::-1]


async def counted(call: Call, asked: Counting, over: Windows) -> list[tuple[dict[str, str], Points]]:
    """A series for each set of labels."""
    names = (
        asked.by
        if asked.by is not None
        else tuple(name for name in LABELS if name not in asked.search.dropped)
    )
    query = as_query(asked.search, call.project_or_all, since_ns=None, until_ns=None, limit=1)
    counts = await _counts(call, CountLogs(
        query=query, origin_ns=over.origin_ns, width_ns=over.width_ns, buckets=over.buckets, by=names
    ))  # fmt: skip
    column = 1 if asked.function.startswith("bytes") else 0
    value_of = value_in(asked.function, asked.window_ns)
    return [
        (
            {name: value for name, value in zip(names, labels, strict=True) if value},
            points(over, ((bucket, both[column]) for bucket, *both in cells), value_of),
        )
        for labels, cells in sorted(counts.items())
    ]


async def listed(call: Call, query: QueryLogs) -> tuple[ListedLog, ...]:
    """Whose lines there are."""
    return (await call.ask(catalogue.LIST_LOGS, query)).logs


async def _counts(call: Call, request: CountLogs) -> dict[tuple[str, ...], list[tuple[int, int, int]]]:
    until_s = call.gateway.clock.monotonic_s() + LONGEST_S
    found: dict[tuple[str, ...], list[tuple[int, int, int]]] = {}
    while True:
        answer = await call.ask(catalogue.COUNT_LOGS, request)
        for series in answer.series:
            found.setdefault(series.labels, []).extend(series.counts)
        if answer.complete_from <= 0:
            return found
        _check_time(call, until_s)
        request = request.model_copy(update={"buckets": answer.complete_from})


async def _pages(call: Call, query: QueryLogs) -> AsyncIterator[list[Line]]:
    """Pages of lines, each with the newest line first."""
    until_s = call.gateway.clock.monotonic_s() + LONGEST_S
    while True:
        answer = await call.ask(catalogue.QUERY_LOGS, query)
        yield [orjson.loads(text) for text in reversed(json_lines(answer).splitlines())]
        if answer.next is None:
            return
        _check_time(call, until_s)
        query = query.model_copy(update={"before": answer.next})


def _check_time(call: Call, until_s: float) -> None:
    if call.gateway.clock.monotonic_s() > until_s:
        raise Invalid("The search takes too long: ask for a shorter time, or for fewer workloads.")
