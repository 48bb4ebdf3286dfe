"""Tells nodes what of their logs is stored, so that their spools can let it go.

It is said once, to whoever listens: a node that did not hear it asks (`logs_held`) and is told again, also of what was refused lately.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from loguru import logger

from lattice.contracts.catalogue import LOGS_STORED
from lattice.contracts.messages import PLATFORM_NODE, LogBlock, LogsHeld, LogsStored
from lattice.errors import LatticeError
from lattice.messaging import Bus, Received
from lattice.number_ranges import Range, Ranges, added, inside
from services.logs.confirmations import Told, messages, of_those_asked, words_to_nodes
from services.logs.index import Container, Index, container_of

# Of how many containers of which something was refused this process knows at once; beyond, it forgets all and refuses again what comes again.
_MOST_REFUSED = 10_000


class Confirmer:
    """Speaks to each node of its own blocks alone."""

    def __init__(self, bus: Bus, index: Index) -> None:
        self._bus = bus
        self._index = index
        self._refused: dict[Container, Ranges] = defaultdict(tuple)

    async def stored(self, blocks: Iterable[LogBlock]) -> None:
        """These are on disk, now or before.  Services of the platform keep nothing until they hear that."""
        of_nodes = [block for block in blocks if block.node_id != PLATFORM_NODE]
        await self._tell(words_to_nodes([_told(block) for block in of_nodes]))

    async def refused(self, blocks: Sequence[LogBlock]) -> None:
        """These will never be taken."""
        for block in blocks:
            if block.first <= block.last:
                self._remember(container_of(block), (block.first, block.last))
        await self._tell(words_to_nodes((), [_told(block) for block in blocks]))

    async def answer(self, received: Received[LogsHeld]) -> None:
        """What a node asks of its own."""
        node_id, asked = received.tokens["node_id"], received.message.ranges
        stored = of_those_asked(asked, lambda source, lines: self._index.stored((node_id, source), lines))
        refused = of_those_asked(asked, lambda source, lines: self._refused_of((node_id, source), lines))
        await self._tell((node_id, said) for said in messages(stored, refused))

    def _remember(self, container: Container, lines: Range) -> None:
        if len(self._refused) >= _MOST_REFUSED:
            self._refused.clear()
        self._refused[container] = added(self._refused[container], lines)

    def _refused_of(self, container: Container, lines: Range) -> list[Range]:
        return inside(self._refused.get(container, ()), lines)

    async def _tell(self, said: Iterable[tuple[str, LogsStored]]) -> None:
        try:
            for node_id, message in said:
                await self._bus.publish(LOGS_STORED, message, node_id=node_id)
        except LatticeError as error:
            logger.debug("nodes are not told what is stored, and will ask: {}", error)


def _told(block: LogBlock) -> Told:
    return block.node_id, block.source, (block.first, block.last)
