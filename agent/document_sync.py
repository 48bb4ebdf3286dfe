"""Where desired documents come from: pushed while the link is up, and fetched after each (re)connect and once a minute, because a push may be lost.

However many changes were missed, only the newest document is fetched and applied once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from loguru import logger

from agent.node_events import NodeEvents
from lattice.contracts.catalogue import DEPLOY, DESIRED_DOCUMENT
from lattice.contracts.messages import DesiredDocument
from lattice.errors import LatticeError
from lattice.messaging import Bus, Received, Subscription

FETCH_S = 60.0
_JITTER_PART = 0.2

Offer = Callable[[DesiredDocument], Awaitable[bool]]


class DocumentSync:
    """Offers every document of this node to the executor, which takes the newer ones."""

    def __init__(
        self,
        node_id: str,
        cluster_id: str,
        bus: Bus,
        offer: Offer,
        events: NodeEvents,
        *,
        chance: random.Random,
        fetch_s: float = FETCH_S,
    ) -> None:
        self._node_id, self._cluster_id, self._bus = node_id, cluster_id, bus
        self._offer, self._events, self._chance, self._fetch_s = offer, events, chance, fetch_s

    async def start(self) -> Subscription:
        """Hear pushed documents, and fetch one at each connect."""
        subscription = await self._bus.subscribe(DEPLOY, self._pushed, node_id=self._node_id)
        self._bus.on_connected(self.fetch)
        return subscription

    async def run(self) -> None:
        """Fetch now and then, for ever."""
        while True:
            await asyncio.sleep(self._fetch_s * (1 + _JITTER_PART * (2 * self._chance.random() - 1)))
            await self.fetch()

    async def fetch(self) -> None:
        """Look at the newest document once; a link that is down is no news."""
        try:
            received = await self._bus.last(DESIRED_DOCUMENT, node_id=self._node_id)
        except LatticeError as error:
            logger.debug("no desired document could be fetched: {}", error.detail)
            return
        if received is not None:
            await self._take(received.message)

    async def _pushed(self, received: Received[DesiredDocument]) -> None:
        await self._take(received.message)

    async def _take(self, document: DesiredDocument) -> None:
        if (document.node_id, document.cluster_id) != (self._node_id, self._cluster_id):
            reason = f"a document for node {document.node_id} of cluster {document.cluster_id} came here"
            logger.error("{}", reason)
            self._events.tell("refused", reason)
            return
        if await self._offer(document):
            logger.info("document {} taken", document.order)
