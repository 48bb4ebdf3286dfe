"""Tells on the bus what was written: each change of an alert once, in order, from the outbox; and the dead man's switch."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime

from loguru import logger

from lattice.alerts import WATCHDOG
from lattice.contracts.catalogue import ALERT
from lattice.contracts.messages import (
    PLATFORM,
    Alert,
    AlertChange,
    AlertSource,
    AlertState,
    Severity,
)
from lattice.errors import Temporary
from lattice.messaging import Bus
from services.alerts import metrics
from services.alerts import store as queries
from services.alerts.change import Deps
from services.alerts.findings import fingerprint

BATCH = 200
# A wake-up comes with each commit; this is for what another replica committed.
LOOK_EVERY_S = 2.0
LOCK = "alerts outbox"


class Teller:
    """Empties the outbox for ever (`run`), or as a test says (`tell`)."""

    def __init__(self, deps: Deps, bus: Bus) -> None:
        self._deps, self._bus = deps, bus
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Something was committed."""
        self._woken.set()

    async def run(self) -> None:
        """A bus or a database that is away only delays what is told."""
        while True:
            try:
                while await self.tell() == BATCH:
                    pass
            except Temporary as error:
                logger.warning("alerts wait to be told: {}", error.detail)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._woken.wait()
            self._woken.clear()

    async def tell(self) -> int:
        """Tell what there is, at most a batch; how many were told.  A repeat after a crash is dropped by the stream."""
        async with self._deps.store.exclusive(LOCK) as ours:
            if not ours:
                return 0
            async with self._deps.store.transaction() as tx:
                rows = await queries.untold(tx, BATCH)
            for row in rows:
                await send(self._bus, row.id, Alert.model_validate(row.alert))
            async with self._deps.store.transaction() as tx:
                for row in rows:
                    tx.delete(row)
        return len(rows)


async def send(bus: Bus, msg_id: str, alert: Alert) -> None:
    """Tell of one change."""
    await bus.append(
        ALERT,
        alert,
        msg_id=msg_id,
        project=alert.project,
        severity=alert.severity.value,
        source=alert.source.value,
        name=alert.name,
    )
    metrics.CHANGES.labels(alert.change.value).inc()


async def keep_watchdog(deps: Deps, bus: Bus, *, every_s: float) -> None:
    """Say again and again that alerts are watched; who does not hear it for a while knows that they are not."""
    began_at = deps.now()
    number = 0
    while True:
        number += 1
        alert = watchdog(began_at, deps.now(), number, deps.new_id("al"))
        try:
            await send(bus, alert.id, alert)
        except Temporary as error:
            logger.warning("the dead man's switch could not be told: {}", error.detail)
        await asyncio.sleep(every_s)


def watchdog(began_at: datetime, now: datetime, number: int, alert_id: str) -> Alert:
    """The dead man's switch."""
    return Alert(
        id=alert_id,
        fingerprint=fingerprint(WATCHDOG, PLATFORM, "alerts"),
        name=WATCHDOG,
        severity=Severity.INFO,
        source=AlertSource.PLATFORM,
        project=PLATFORM,
        state=AlertState.OPEN,
        change=AlertChange.STILL_HERE,
        number=number,
        entity_id="alerts",
        entity_name="alerts",
        summary="Alerts are watched.",
        opened_at=began_at,
        changed_at=now,
    )
