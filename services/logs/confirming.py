"""Tells nodes what of theirs is on disk, so that their spools may let it go: after each group commit, and when a node asks."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from lattice.contracts.catalogue import LOGS_STORED
from lattice.contracts.messages import MOST_RANGES, PLATFORM_NODE, LogBlock, LogRange, LogsHeld, LogsStored
from lattice.messaging import Bus, Received
from services.logs.coverage import Covered, Range, covering
from services.logs.index import Index

# What becomes durable within this is told at once.
_GATHER_S = 0.05


@dataclass(slots=True)
class _News:
    """Of one node, by container: what is stored, and what will never be."""

    stored: dict[str, Covered] = field(default_factory=dict)
    refused: dict[str, Covered] = field(default_factory=dict)


class Confirming:
    """Gathers news for each node; `run` tells them.  A message that is lost is made up for when the node asks."""

    def __init__(self, bus: Bus, index: Index) -> None:
        self._bus, self._index = bus, index
        self._news: dict[str, _News] = defaultdict(_News)
        self._arrived = asyncio.Event()

    def stored(self, block: LogBlock) -> None:
        """This block is on disk, now or since earlier.  Services keep nothing until they hear that."""
        if block.node_id == PLATFORM_NODE:
            return
        _add(self._news[block.node_id].stored, block.source, (block.first, block.last))
        self._arrived.set()

    def refused(self, block: LogBlock) -> None:
        """This block will not be stored, however often it comes."""
        _add(self._news[block.node_id].refused, block.source, (block.first, block.last))
        self._arrived.set()

    async def held(self, received: Received[LogsHeld]) -> None:
        """A node asks what of its spool is stored."""
        node_id = received.tokens["node_id"]
        for wanted in received.message.ranges:
            for found in self._index.stored((node_id, wanted.source), (wanted.first, wanted.last)):
                _add(self._news[node_id].stored, wanted.source, found)
        self._arrived.set()

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(_GATHER_S)
            self._arrived.clear()
            news, self._news = self._news, defaultdict(_News)
            for node_id, of_node in news.items():
                for message in _messages(of_node):
                    await self._bus.publish(LOGS_STORED, message, node_id=node_id)


def _add(to: dict[str, Covered], source: str, lines: Range) -> None:
    to[source] = covering(to.get(source, ()), lines)


def _messages(news: _News) -> Iterator[LogsStored]:
    for ranges in _in_parts(news.stored):
        yield LogsStored(stored=ranges)
    for ranges in _in_parts(news.refused):
        yield LogsStored(refused=ranges)


def _in_parts(covered: dict[str, Covered]) -> Iterator[tuple[LogRange, ...]]:
    ranges = (
        LogRange(source=source, first=first, last=last)
        for source, of_source in covered.items()
        for first, last in of_source
    )
    while part := tuple(islice(ranges, MOST_RANGES)):
        yield part
