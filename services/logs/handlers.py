"""What the log store does with blocks that arrive."""

from __future__ import annotations

from loguru import logger

from lattice.contracts.messages import AGENT_LOG, PLATFORM, PLATFORM_NODE, LogBlock
from lattice.errors import Invalid
from lattice.instance_owners import Owner, Owners
from lattice.messaging import Received
from services.logs import metrics
from services.logs.confirming import Confirmer
from services.logs.index import StoredBlock
from services.logs.store import Incoming
from services.logs.writer import Writer


class Handlers:
    """The handlers of one process."""

    def __init__(self, writer: Writer, owners: Owners, confirmer: Confirmer) -> None:
        self._writer = writer
        self._confirmer = confirmer
        self._owners = owners

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
        await self._store(block, owner, received.body)

    async def take_own_block(self, received: Received[LogBlock]) -> None:
        """The same of a service of the platform, for which its subject vouches."""
        block, service = received.message, received.tokens["service"]
        if (block.node_id, block.workload_id) != (PLATFORM_NODE, service):
            metrics.BLOCKS.labels("refused").inc()
            logger.warning("the service {} sent lines of {}", service, block.workload_id)
            return
        await self._store(block, Owner(PLATFORM, service, service, PLATFORM_NODE), received.body)

    async def _store(self, block: LogBlock, owner: Owner, body: bytes) -> None:
        incoming = Incoming(_owned(block, owner), owner.workload_name, body, owner.node_name)
        try:
            outcome = await self._writer.store(incoming)
        except Invalid:
            metrics.BLOCKS.labels("invalid").inc()
            raise
        metrics.BLOCKS.labels("stored" if outcome.stored else "repeated").inc()
        for stored in outcome.stored:
            _count(stored)

    async def _owner(self, block: LogBlock, tokens: dict[str, str]) -> Owner | None:
        """The bus vouches for the subject, which carries the node; what the block says besides is checked against the registry."""
        if (block.node_id, block.workload_id) != (tokens["node_id"], tokens["workload_id"]):
            return None
        if block.workload_id == AGENT_LOG:
            return await self._owners.of_agent(block.node_id)
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
