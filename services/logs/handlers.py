"""What the log store does with blocks that arrive."""

from __future__ import annotations

from loguru import logger

from lattice.contracts.messages import LogBlock
from lattice.errors import Invalid
from lattice.messaging import Received
from services.logs import metrics
from services.logs.confirming import Confirming
from services.logs.owners import Owner, Owners, is_own_log
from services.logs.store import Incoming
from services.logs.writer import Writer


class Handlers:
    """The handlers of one process."""

    def __init__(self, writer: Writer, owners: Owners, confirming: Confirming) -> None:
        self._writer = writer
        self._owners = owners
        self._confirming = confirming

    async def take_block(self, received: Received[LogBlock]) -> None:
        """Store a block; it is acknowledged when it is on disk.  Of an instance that its node never had, nothing is stored."""
        block = received.message
        owner = await self._owner(block, received.tokens)
        if owner is None:
            metrics.BLOCKS.labels("refused").inc()
            logger.warning(
                "node {} sent lines of {}, which is not known there", block.node_id, block.instance_id
            )
            if block.node_id == received.tokens["node_id"]:
                self._confirming.refused(block)
            return
        incoming = Incoming(_owned(block, owner), owner.workload_name, received.body, owner.node_name)
        try:
            outcome = await self._writer.store(incoming)
        except Invalid:
            metrics.BLOCKS.labels("invalid").inc()
            self._confirming.refused(block)
            raise
        self._confirming.stored(block)
        metrics.BLOCKS.labels("stored" if outcome.stored else "repeated").inc()
        for stored in outcome.stored:
            metrics.LINES.inc(stored.lines[1] - stored.lines[0] + 1)
            metrics.BYTES.inc(stored.body_size)

    async def _owner(self, block: LogBlock, tokens: dict[str, str]) -> Owner | None:
        """The bus vouches for the subject, which carries the node; what the block says besides is checked against the registry."""
        if (block.node_id, block.workload_id) != (tokens["node_id"], tokens["workload_id"]):
            return None
        if is_own_log(block):
            return await self._owners.of_own_log(block)
        owner = await self._owners.owner(block.node_id, block.instance_id)
        return owner if owner is not None and owner.workload_id == block.workload_id else None


def _owned(block: LogBlock, owner: Owner) -> LogBlock:
    return block if block.project == owner.project else block.model_copy(update={"project": owner.project})
