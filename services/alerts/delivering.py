"""Brings what is told to the sinks: messages in groups, each until it arrived or a day has passed; the rest again and again.

One replica delivers at a time.  A crash between sending and noting it sends once more: twice told is better than never.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from loguru import logger

from lattice.contracts.messages import Alert, DeliveryState, SinkKind
from lattice.errors import LatticeError, StaleVersion, Temporary
from services.alerts import metrics
from services.alerts import store as queries
from services.alerts.change import Deps, alert_of, sink_of
from services.alerts.sending import Sender
from services.alerts.sink_rules import (
    MOST_IN_A_GROUP,
    concerns,
    for_alertmanager,
    pause_after,
    text_of,
)
from services.alerts.sink_vault import SinkVault
from services.alerts.tables import DeliveryRow, SinkRow

LOCK = "alerts delivery"
LOOK_EVERY_S = 1.0
# Alertmanager forgets what it does not hear of for so long; it hears of everything four times in it.
HOLDS = timedelta(minutes=4)
AGAIN_EVERY = timedelta(minutes=1)
# What is over is said for so long, in case the first time was not heard.
SAID_OVER_FOR = timedelta(minutes=5)


class Delivery:
    """Delivers for ever (`run`), or as a test says (`deliver`).  `is_watching`: alerts have been looked at lately."""

    def __init__(
        self, deps: Deps, vault: SinkVault, sender: Sender, *, is_watching: Callable[[], bool]
    ) -> None:
        self._deps, self._vault, self._sender = deps, vault, sender
        self._is_watching = is_watching
        self._sent_at: dict[str, datetime] = {}
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """An alert changed: Alertmanagers hear of it at once."""
        self._changed.set()

    async def run(self) -> None:
        """A sink or a database that is away only delays what is delivered."""
        while True:
            try:
                await self.deliver()
            except (Temporary, StaleVersion) as error:
                logger.warning("alerts wait to be delivered: {}", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._changed.wait()

    async def deliver(self) -> None:
        """Deliver what is due, to all sinks side by side."""
        changed = self._changed.is_set()
        self._changed.clear()
        async with self._deps.store.exclusive(LOCK) as ours:
            if not ours:
                return
            async with self._deps.store.transaction() as tx:
                rows = await queries.sinks(tx)
            await asyncio.gather(*(self._serve(row, changed=changed) for row in rows))

    async def _serve(self, row: SinkRow, *, changed: bool) -> None:
        if row.kind == SinkKind.MESSAGES:
            await self._send_messages(row)
        elif self._is_turn(row, changed=changed):
            self._sent_at[row.id] = self._deps.now()
            await self._note(row, await self._say(row))

    def _is_turn(self, row: SinkRow, *, changed: bool) -> bool:
        sent_at = self._sent_at.get(row.id)
        if sent_at is None or (changed and row.kind == SinkKind.ALERTMANAGER):
            return True
        return self._deps.now() - sent_at >= AGAIN_EVERY

    async def _say(self, row: SinkRow) -> str:
        if row.kind == SinkKind.HEARTBEAT:
            return await self._sender.heartbeat(self._vault.url(row)) if self._is_watching() else ""
        return await self._sender.alertmanager(self._vault.url(row), await self._all_for(row))

    async def _all_for(self, row: SinkRow) -> list[dict[str, object]]:
        """Everything of its that is so, and what was over lately."""
        now = self._deps.now()
        async with self._deps.store.transaction() as tx:
            alerts = [*await queries.living(tx), *await queries.ended_since(tx, now - SAID_OVER_FOR)]
        told = {each.id: alert_of(each, self._deps.pages) for each in alerts}
        wanted = (alert for alert in told.values() if concerns(sink_of(row), alert))
        return [for_alertmanager(alert, now=now, holds=HOLDS) for alert in wanted]

    # --- messages ------------------------------------------------------------------------------------------

    async def _send_messages(self, row: SinkRow) -> None:
        async with self._deps.store.transaction() as tx:
            due = await queries.due(tx, row.id, self._deps.now(), limit=MOST_IN_A_GROUP)
        if not due:
            return
        problem = await self._message(row, [Alert.model_validate(each.alert) for each in due])
        async with self._deps.store.transaction() as tx:
            for each in due:
                self._settle(tx.update, each, problem)
        await self._note(row, problem)

    async def _message(self, row: SinkRow, alerts: Sequence[Alert]) -> str:
        try:
            return await self._sender.message(self._vault.url(row), *text_of(alerts))
        except LatticeError as error:  # its address cannot be opened
            return error.detail

    def _settle(self, update: Callable[..., object], row: DeliveryRow, problem: str) -> None:
        now, attempts = self._deps.now(), row.attempts + 1
        pause = pause_after(attempts)
        metrics.DELIVERIES.labels("sent" if not problem else "failed" if pause is None else "again").inc()
        if not problem:
            update(row, state=DeliveryState.SENT.value, attempts=attempts, problem="", done_at=now)
        elif pause is None:
            update(row, state=DeliveryState.FAILED.value, attempts=attempts, problem=problem, done_at=now)
        else:
            update(row, attempts=attempts, problem=problem, next_at=now + pause)

    async def _note(self, row: SinkRow, problem: str) -> None:
        """What the sink shows of itself; it may have been removed meanwhile."""
        if problem:
            logger.warning("sink {} was not reached: {}", row.name, problem)
        async with self._deps.store.transaction() as tx:
            known = await queries.sink(tx, row.id)
            if known is not None:
                sent = {} if problem else {"last_sent_at": self._deps.now()}
                tx.update(known, problem=problem, **sent)
