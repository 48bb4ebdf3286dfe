"""What happened on the node and no state shows any more: kept in memory until the bus has it, at most a thousand, the oldest dropped first and
counted."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from lattice.clock import Clock
from lattice.contracts.catalogue import NODE_EVENT
from lattice.contracts.messages import NodeEvent
from lattice.contracts.messages.reports import MAX_EVENT_DETAIL
from lattice.contracts.nouns import ContainerKey
from lattice.errors import Temporary
from lattice.ids import NewId
from lattice.messaging import Bus

_MOST_WAITING = 1000
_RETRY_S = 1.0


class NodeEvents:
    """Takes events from everywhere and sends them in order."""

    def __init__(self, node_id: str, bus: Bus, clock: Clock, new_id: NewId) -> None:
        self._node_id, self._bus, self._clock, self._new_id = node_id, bus, clock, new_id
        self._waiting: deque[tuple[str, NodeEvent]] = deque(maxlen=_MOST_WAITING)
        self._filled = asyncio.Event()
        self.dropped = 0

    def tell(self, type_: str, detail: str, *, key: ContainerKey | None = None, **data: Any) -> None:
        """Note that something happened now."""
        event = NodeEvent(
            node_id=self._node_id,
            type=type_,
            at=self._clock.now(),
            key=key,
            detail=detail[:MAX_EVENT_DETAIL],
            data=data,
        )
        self.dropped += len(self._waiting) == _MOST_WAITING
        self._waiting.append((self._new_id("fa"), event))
        self._filled.set()

    async def run(self) -> None:
        """Send what waits, for ever."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                event_id, event = self._waiting[0]
                try:
                    await self._bus.append(
                        NODE_EVENT, event, msg_id=event_id, node_id=self._node_id, type=event.type
                    )
                except Temporary:
                    await asyncio.sleep(_RETRY_S)
                    continue
                if self._waiting and self._waiting[0][0] == event_id:
                    self._waiting.popleft()


Tell = Callable[..., None]
