"""Alerts as a stream that is level-triggered: who listens gets all that are not over, then each change; and all again after a break.

So a listener that missed something sees the newest state soon, and nobody has to resume anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from loguru import logger

from lattice.contracts import catalogue
from lattice.contracts.messages import Alert, AlertChange, ListAlerts
from lattice.errors import Temporary
from lattice.messaging import Bus, Received, Subscription
from services.gateway.waiting import next_of, pause

PAGE = 500
_QUEUE = 1000
_RETRY_S = 1.0


class AlertFeed:
    """Hands alerts to listeners."""

    def __init__(self, bus: Bus, *, quiet_s: float) -> None:
        self._bus = bus
        self._quiet_s = quiet_s
        self._listeners: set[asyncio.Queue[Alert | None]] = set()
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Begin to hear alerts."""
        self._subscription = await self._bus.subscribe(catalogue.ALERT, self._heard)
        self._bus.on_connected(self._look_again)

    async def stop(self) -> None:
        """Hear no more."""
        if self._subscription is not None:
            await self._subscription.stop()

    async def follow(
        self, project: str | None, *, ended: asyncio.Event
    ) -> AsyncGenerator[Alert | None, None]:
        """Alerts of a project (None: all) until `ended`; each state of one once; None now and then while nothing happens."""
        told: dict[str, int] = {}
        with self._listen() as queue:
            while not ended.is_set():
                async for alert in self._living(project, ended):
                    if told.get(alert.id, 0) < alert.number:
                        told[alert.id] = alert.number
                        yield alert
                while (heard := await next_of(queue, ended, self._quiet_s)) is not None:
                    if _is_for(heard, project) and told.get(heard.id, 0) < heard.number:
                        told[heard.id] = heard.number
                        yield heard
                yield None

    async def _living(self, project: str | None, ended: asyncio.Event) -> AsyncIterator[Alert]:
        token: str | None = None
        while not ended.is_set():
            query = ListAlerts(project=project, page_size=PAGE, page_token=token)
            try:
                page = await self._bus.ask(catalogue.LIST_ALERTS, query)
            except Temporary as error:
                logger.warning("alerts cannot be listed now: {}", error)
                await pause(ended, _RETRY_S)
                continue
            for alert in page.items:
                yield alert
            token = page.next_page_token
            if token is None:
                return

    @contextmanager
    def _listen(self) -> Iterator[asyncio.Queue[Alert | None]]:
        queue: asyncio.Queue[Alert | None] = asyncio.Queue(_QUEUE)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    async def _heard(self, received: Received[Alert]) -> None:
        if received.message.change is not AlertChange.STILL_HERE:
            self._hand_out(received.message)

    async def _look_again(self) -> None:
        """The link was away: nobody knows what was said meanwhile."""
        self._hand_out(None)

    def _hand_out(self, alert: Alert | None) -> None:
        for queue in self._listeners:
            # A listener that is too slow misses some, and gets all that are not over after the next pause.
            with suppress(asyncio.QueueFull):
                queue.put_nowait(alert)


def _is_for(alert: Alert, project: str | None) -> bool:
    return project is None or alert.project == project
