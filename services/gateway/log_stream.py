"""Stored lines first, then live ones, as one stream.

The log store takes lines only from the node that has the instance; of live ones the same is asked here, because a node may speak on any
workload's subject under its own name.

The live subject is heard before the store is asked, so nothing falls between; what comes from both is shown once.  Lines that were on
their way into the store at that moment are in neither: the store is asked once more a little later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from loguru import logger

from lattice.contracts import catalogue
from lattice.contracts.messages import GetByName, LogBlock, LogLine, QueryLogs
from lattice.contracts.views import WorkloadView
from lattice.errors import Invalid, LatticeError, Temporary
from lattice.messaging import Bus, Received
from services.gateway.log_lines import Seen, decode, time_ns_of

SECOND_LOOK_S = 2.0
# A node that sends lines of an instance it does not have makes us ask no more often than this.
ASK_AGAIN_S = 1.0
_SECOND_LOOK_LINES = 1000
_BLOCKS_WAITING = 256


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines of which workload."""

    workload: WorkloadView
    since_ns: int | None = None
    until_ns: int | None = None
    grep: str | None = None
    source: str | None = None
    limit: int = 100

    def request(self) -> QueryLogs:
        """As the log store takes it."""
        return QueryLogs(
            project=self.workload.project,
            workload_id=self.workload.id,
            since_ns=self.since_ns,
            until_ns=self.until_ns,
            grep=self.grep,
            source=self.source,
            limit=self.limit,
        )

    def wants(self, line: LogLine) -> bool:
        """Whether a live line belongs to the answer."""
        if self.grep is not None and self.grep not in line.message:
            return False
        time_ns = time_ns_of(line.time)
        return (self.since_ns or 0) <= time_ns and (self.until_ns is None or time_ns <= self.until_ns)


def nodes_of(workload: WorkloadView) -> dict[str, str]:
    """node id -> name, of the nodes where its instances are: the store and the blocks know ids only."""
    return {item.node_id: item.node for item in workload.instances if item.node_id and item.node}


def _has(workload: WorkloadView, block: LogBlock) -> bool:
    return any((item.id, item.node_id) == (block.instance_id, block.node_id) for item in workload.instances)


async def stored(bus: Bus, query: LogQuery) -> tuple[LogLine, ...]:
    """The newest matching lines of the store, oldest first."""
    lines, nodes = (await bus.ask(catalogue.QUERY_LOGS, query.request())).lines, nodes_of(query.workload)
    return tuple(
        line.model_copy(update={"node": nodes[line.node]}) if line.node in nodes else line for line in lines
    )


async def follow(
    bus: Bus, query: LogQuery, *, ended: asyncio.Event, quiet_s: float
) -> AsyncGenerator[LogLine | None, None]:
    """Stored lines, then live ones until `ended`; None now and then while nothing is written."""
    tail = _Tail(bus, query)
    await tail.start()
    try:
        history = await stored(bus, query)
        tail.look_again(history)
        for line in history:
            if tail.seen.first_time(line):
                yield line
        async with aclosing(tail.lines(ended, quiet_s)) as lines:
            async for item in lines:
                yield item
    finally:
        await tail.stop()


class _Tail:
    """The live part: blocks that wait to be shown."""

    def __init__(self, bus: Bus, query: LogQuery) -> None:
        self._bus = bus
        self._query = query
        self._workload = query.workload
        self._asked_s = float("-inf")
        self._queue: asyncio.Queue[tuple[LogLine, ...]] = asyncio.Queue(_BLOCKS_WAITING)
        self._last: dict[tuple[str, str], LogBlock] = {}
        self._looking: asyncio.Task[None] | None = None
        self.seen = Seen()

    async def start(self) -> None:
        self._subscription = await self._bus.subscribe(
            catalogue.LOG_BLOCK, self._heard, workload_id=self._query.workload.id
        )

    def look_again(self, history: Sequence[LogLine]) -> None:
        """Ask the store once more, a little later, for what is not older than the newest of `history`."""
        self._look_since(time_ns_of(history[-1].time) if history else self._query.since_ns)

    def _look_since(self, since_ns: int | None) -> None:
        if self._looking is not None and not self._looking.done():
            return  # the look that waits will see it too: it began earlier
        query = replace(self._query, since_ns=since_ns, limit=max(self._query.limit, _SECOND_LOOK_LINES))
        self._looking = asyncio.create_task(self._look(query))

    async def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        await self._subscription.stop()

    async def lines(self, ended: asyncio.Event, quiet_s: float) -> AsyncGenerator[LogLine | None, None]:
        ending = asyncio.ensure_future(ended.wait())
        try:
            while not ended.is_set():
                block = await self._next(ending, quiet_s)
                if block is None:
                    yield None
                    continue
                for line in block:
                    if self.seen.first_time(line):
                        yield line
        finally:
            ending.cancel()

    async def _next(
        self, ending: asyncio.Future[Literal[True]], quiet_s: float
    ) -> tuple[LogLine, ...] | None:
        if not self._queue.empty():
            return self._queue.get_nowait()
        getting = asyncio.ensure_future(self._queue.get())
        try:
            waited: set[asyncio.Future[Any]] = {getting, ending}
            await asyncio.wait(waited, timeout=quiet_s, return_when=asyncio.FIRST_COMPLETED)
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()

    async def _heard(self, received: Received[LogBlock]) -> None:
        if not await self._is_from_its_node(received):
            return
        try:
            name = self._query.workload.name
            decoded = decode(received.message, received.body, workload=name, nodes=nodes_of(self._workload))
            ours = self._query.source in (None, received.message.source)
            lines = tuple(line for line in decoded if ours and self._query.wants(line))
        except Invalid as error:
            logger.warning("{}", error)
            return
        self._fill_gap_before(received.message)
        # A reader who is too slow loses live blocks; they are in the store, and the gap is seen with the next block.
        with suppress(asyncio.QueueFull):
            self._queue.put_nowait(lines)

    async def _is_from_its_node(self, received: Received[LogBlock]) -> bool:
        """Whether the block is of this workload, and of the node that sends it and has the instance."""
        block, sender = received.message, received.tokens["node_id"]
        if (block.workload_id, block.node_id) != (self._query.workload.id, sender):
            return False
        if not _has(self._workload, block):
            await self._learn(block)
        return _has(self._workload, block)

    async def _learn(self, block: LogBlock) -> None:
        """The instance may be a new one.  Where nobody can be asked now, its lines are looked for in the store."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._asked_s < ASK_AGAIN_S:
            self._look_since(block.first_at_ns)
            return
        self._asked_s = now_s
        wanted = GetByName(ref=self._workload.id, project=self._workload.project)
        try:
            self._workload = await self._bus.ask(catalogue.GET_WORKLOAD, wanted)
        except LatticeError as error:
            logger.warning("whose lines these are could not be asked: {}", error)
            self._look_since(block.first_at_ns)

    def _fill_gap_before(self, block: LogBlock) -> None:
        """Lines are numbered: where some were not heard, they are in the store or on their way there."""
        key = (block.instance_id, block.source)
        last = self._last.get(key)
        self._last[key] = block
        if last is not None and block.first > last.last + 1:
            self._look_since(last.last_at_ns)

    async def _look(self, query: LogQuery) -> None:
        await asyncio.sleep(SECOND_LOOK_S)
        with suppress(Temporary):
            await self._queue.put(await stored(self._bus, query))
