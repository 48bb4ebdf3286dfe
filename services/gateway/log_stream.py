"""Stored lines first, then live ones, as one stream; of one workload or of many, in the order of time.

The live subject is heard before the store is asked, so nothing falls between; what comes from both is shown once.  Lines that were on
their way into the store at that moment are in neither: the store is asked once more a little later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Literal

from loguru import logger

from lattice.clock import Clock
from lattice.contracts import catalogue
from lattice.contracts.messages import AGENT_LOG, PLATFORM, LogBlock, LogLines, QueryLogs
from lattice.contracts.views import WorkloadView
from lattice.errors import Invalid, Temporary
from lattice.log_labels import Place
from lattice.log_matching import LineMatcher
from lattice.messaging import Bus, Received, Subscription
from services.gateway.log_lines import Seen, Shown, decode, stored_lines, time_ns_of_text
from services.gateway.log_owners import LogOwners, PartOwners, Whose

SECOND_LOOK_S = 2.0
# Blocks of different nodes that arrive within this are put in the order of their lines' times.
MERGE_S = 0.2
_SECOND_LOOK_LINES = 1000
_BLOCKS_WAITING = 256


@dataclass(frozen=True, slots=True)
class LogReader:
    """What somebody reads: the question to the store, and the workloads that it names, as far as there are any now."""

    query: QueryLogs
    workloads: tuple[WorkloadView, ...] = ()

    def owners(self, bus: Bus, clock: Clock) -> LogOwners | PartOwners:
        """Who tells whose live lines are for this reader."""
        if self.query.project == PLATFORM:
            return PartOwners()
        return LogOwners(bus, clock, self.query.project, self.workloads)

    def wants(self, block: LogBlock, whose: Whose) -> bool:
        """Whether a live block is one of those that were asked for."""
        query = self.query
        named = whose.workload_id in query.workload_ids or whose.workload_name in query.workload_names
        return (
            (named or not (query.workload_ids or query.workload_names))
            and query.source in (None, block.source)
            and (not query.instance_ids or block.instance_id in query.instance_ids)
            and (not query.node_ids or block.node_id in query.node_ids or whose.node in query.node_ids)
        )


async def stored(bus: Bus, query: QueryLogs) -> LogLines:
    """The newest matching lines of the store, oldest first."""
    return await bus.ask(catalogue.QUERY_LOGS, query)


async def follow(
    bus: Bus, clock: Clock, reader: LogReader, *, ended: asyncio.Event, quiet_s: float
) -> AsyncGenerator[Shown | None, None]:
    """Stored lines, then live ones until `ended`; None now and then while nothing is written."""
    tail = _Tail(bus, clock, reader)
    await tail.start()
    try:
        history = stored_lines(await stored(bus, reader.query))
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

    def __init__(self, bus: Bus, clock: Clock, reader: LogReader) -> None:
        self._bus, self._reader = bus, reader
        self._matcher = LineMatcher(reader.query)
        self._owners = reader.owners(bus, clock)
        self._queue: asyncio.Queue[tuple[Shown, ...]] = asyncio.Queue(_BLOCKS_WAITING)
        self._last: dict[tuple[str, str], LogBlock] = {}
        self._looking: asyncio.Task[None] | None = None
        self._heard_on: list[Subscription] = []
        self.seen = Seen()

    async def start(self) -> None:
        query, own = self._reader.query, self._reader.query.project == PLATFORM
        ids = (AGENT_LOG,) if own else () if query.workload_names else query.workload_ids
        only = {"workload_id": ids[0]} if len(ids) == 1 else {}
        self._heard_on.append(await self._bus.subscribe(catalogue.LOG_BLOCK, self._heard, **only))
        if own:
            self._heard_on.append(await self._bus.subscribe(catalogue.SERVICE_LOG, self._heard))

    def look_again(self, history: Sequence[Shown]) -> None:
        """Ask the store once more, a little later, for what is not older than the newest of `history`."""
        self._look_since(time_ns_of_text(history[-1].time) if history else self._reader.query.since_ns)

    def _look_since(self, since_ns: int | None) -> None:
        if self._looking is not None and not self._looking.done():
            return  # the look that waits will see it too: it began earlier
        query = self._reader.query
        changes = {"since_ns": since_ns, "limit": max(query.limit, _SECOND_LOOK_LINES)}
        self._looking = asyncio.create_task(self._look(query.model_copy(update=changes)))

    async def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        for subscription in self._heard_on:
            await subscription.stop()

    async def lines(self, ended: asyncio.Event, quiet_s: float) -> AsyncGenerator[Shown | None, None]:
        ending = asyncio.ensure_future(ended.wait())
        try:
            while not ended.is_set():
                block = await self._next(ending, quiet_s)
                if block is None:
                    yield None
                    continue
                for line in await self._with_those_beside(block):
                    if self.seen.first_time(line):
                        yield line
        finally:
            ending.cancel()

    async def _next(self, ending: asyncio.Future[Literal[True]], quiet_s: float) -> tuple[Shown, ...] | None:
        if not self._queue.empty():
            return self._queue.get_nowait()
        getting = asyncio.ensure_future(self._queue.get())
        try:
            waited: set[asyncio.Future[Any]] = {getting, ending}
            await asyncio.wait(waited, timeout=quiet_s, return_when=asyncio.FIRST_COMPLETED)
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()

    async def _with_those_beside(self, block: tuple[Shown, ...]) -> Sequence[Shown]:
        """What arrives at the same time, in the order of time; a single container's lines are in order already."""
        if len(self._last) > 1:
            await asyncio.sleep(MERGE_S)
        lines = list(block)
        while not self._queue.empty():
            lines += self._queue.get_nowait()
        return sorted(lines, key=lambda line: line.time)

    async def _heard(self, received: Received[LogBlock]) -> None:
        block = received.message
        whose = await self._owners.find(received)
        if whose is None:
            if self._owners.may_be_ours(block):
                self._look_since(block.first_at_ns)
            return
        place = Place(block.project, whose.workload_name, whose.node, block.instance_id)
        if not self._reader.wants(block, whose) or not self._matcher.may_match_from(place):
            return
        try:
            decoded = decode(
                block,
                received.body,
                self._matcher,
                workload=whose.workload_name,
                node=whose.node,
                levels=self._reader.query.levels,
            )
            lines = tuple(decoded)
        except Invalid as error:
            logger.warning("{}", error)
            return
        self._fill_gap_before(block)
        # A reader who is too slow loses live blocks; they are in the store, and the gap is seen with the next block.
        with suppress(asyncio.QueueFull):
            self._queue.put_nowait(lines)

    def _fill_gap_before(self, block: LogBlock) -> None:
        """Records are numbered: where some were not heard, they are in the store or on their way there."""
        key = (block.instance_id, block.source)
        last = self._last.get(key)
        self._last[key] = block
        if last is not None and block.first > last.last + 1:
            self._look_since(last.last_at_ns)

    async def _look(self, query: QueryLogs) -> None:
        await asyncio.sleep(SECOND_LOOK_S)
        with suppress(Temporary):
            await self._queue.put(stored_lines(await stored(self._bus, query)))
