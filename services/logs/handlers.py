"""What the log store does with messages: takes blocks in, answers queries."""

from __future__ import annotations

import asyncio

from loguru import logger

from lattice.contracts.messages import LogBlock, LogLines, QueryLogs
from lattice.errors import Invalid
from lattice.messaging import Received
from services.logs import metrics
from services.logs.confirming import Confirmer
from services.logs.index import StoredBlock
from services.logs.owners import Owner, Owners
from services.logs.query import search
from services.logs.reading import Reader
from services.logs.store import Incoming, LogStore
from services.logs.writer import Writer

_QUERIES_AT_ONCE = 4


class Handlers:
    """The handlers of one process."""

    def __init__(
        self, store: LogStore, reader: Reader, writer: Writer, owners: Owners, confirmer: Confirmer
    ) -> None:
        self._store = store
        self._reader = reader
        self._writer = writer
        self._confirmer = confirmer
        self._owners = owners
        self._places = asyncio.Semaphore(_QUERIES_AT_ONCE)

    async def take_block(self, received: Received[LogBlock]) -> None:
        """Store a block; it is acknowledged when it is on disk.  Of an instance that its node never had, nothing is stored."""
        block = received.message
        owner = await self._owner(block, received.tokens)
        if owner is None:
            metrics.BLOCKS.labels("refused").inc()
            logger.warning(
                "node {} sent lines of {}, which is not known there", block.node_id, block.instance_id
            )
            # Whatever the block says: only the node that sent it is told, and only of itself.
            sent = block.model_copy(update={"node_id": received.tokens["node_id"]})
            await self._confirmer.refused([sent])
            return
        incoming = Incoming(_owned(block, owner), owner.workload_name, received.body)
        try:
            outcome = await self._writer.store(incoming)
        except Invalid:
            metrics.BLOCKS.labels("invalid").inc()
            raise
        metrics.BLOCKS.labels("stored" if outcome.stored else "repeated").inc()
        for stored in outcome.stored:
            _count(stored)

    async def query(self, request: QueryLogs) -> LogLines:
        """The newest matching lines of a workload, also of one that was removed."""
        found = self._store.index.blocks(request.project, request.workload_id)
        async with self._places:
            with metrics.QUERY_SECONDS.time():
                return await asyncio.to_thread(search, found, request, self._reader.body)

    async def _owner(self, block: LogBlock, tokens: dict[str, str]) -> Owner | None:
        """The bus vouches for the subject, which carries the node; what the block says besides is checked against the registry."""
        if (block.node_id, block.workload_id) != (tokens["node_id"], tokens["workload_id"]):
            return None
        owner = await self._owners.owner(block.node_id, block.instance_id)
        return owner if owner is not None and owner.workload_id == block.workload_id else None


def _count(stored: StoredBlock) -> None:
    gap = stored.header.block.gap
    if gap is None:
        metrics.LINES.inc(stored.lines[1] - stored.lines[0] + 1)
        metrics.BYTES.inc(stored.body_size)
    else:
        metrics.GAPS.labels(gap.cause).inc()
        metrics.GAP_LINES.labels(gap.cause).inc(gap.lines or 0)


def _owned(block: LogBlock, owner: Owner) -> LogBlock:
    return block if block.project == owner.project else block.model_copy(update={"project": owner.project})
