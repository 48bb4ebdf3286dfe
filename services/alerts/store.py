"""Every query of the alerts service.  Callers bring the transaction, so that a change, what is told of it and its audit row are one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from lattice.contracts.messages import ListAlerts, ListAudit, ListDeliveries
from lattice.paging import page_of
from lattice.storage import Gt, Lt, Transaction
from services.alerts.tables import AlertRow, AuditRow, DeliveryRow, OutboxRow, SilenceRow, SinkRow

# Alerts that are over are kept as long as the stream keeps them.
_MOST_LIVING = 10_000


async def living(tx: Transaction, *, lock: bool = False) -> list[AlertRow]:
    """Alerts that are not over, and those that somebody declared over while they still are so."""
    open_ = await tx.find(AlertRow, resolved_at=None, limit=_MOST_LIVING, lock=lock)
    return [*open_, *await tx.find(AlertRow, waits_for_end=True, limit=_MOST_LIVING, lock=lock)]


async def ended_since(tx: Transaction, moment: datetime) -> list[AlertRow]:
    """Alerts that were over after this moment, oldest first."""
    return await tx.find(AlertRow, resolved_at=Gt(moment), order_by=("resolved_at", "id"))


async def alert(tx: Transaction, alert_id: str, *, lock: bool = False) -> AlertRow | None:
    """One alert."""
    return await tx.get(AlertRow, alert_id, lock=lock)


async def alerts(tx: Transaction, query: ListAlerts) -> tuple[list[AlertRow], str | None]:
    """A page of alerts, newest first, and the token of the next one."""
    where: dict[str, Any] = query.model_dump(include={"project", "severity", "name"}, exclude_none=True)
    if not query.resolved:
        where["resolved_at"] = None
    return await page_of(tx, AlertRow, query, **where)


async def silences(tx: Transaction, now: datetime) -> list[SilenceRow]:
    """Silences and windows that are not over, those that were made first at the head."""
    return await tx.find(SilenceRow, ends_at=Gt(now))


async def silence(tx: Transaction, silence_id: str) -> SilenceRow | None:
    """One silence, kept from other changes to the end of the transaction."""
    return await tx.get(SilenceRow, silence_id, lock=True)


async def sinks(tx: Transaction) -> list[SinkRow]:
    """All sinks; they are few."""
    return await tx.find(SinkRow)


async def sink(tx: Transaction, ref: str) -> SinkRow | None:
    """A sink by id or name."""
    row = await tx.get(SinkRow, ref)
    named = [] if row is not None else await tx.find(SinkRow, name=ref, limit=1)
    return named[0] if named else row


async def due(tx: Transaction, sink_id: str, now: datetime, *, limit: int) -> list[DeliveryRow]:
    """What is to be sent to a sink now, oldest first."""
    return await tx.find(DeliveryRow, sink_id=sink_id, done_at=None, next_at=Lt(now), limit=limit)


async def deliveries(tx: Transaction, query: ListDeliveries) -> tuple[list[DeliveryRow], str | None]:
    """A page of what was told to whom, newest first, and the token of the next one."""
    found = await sink(tx, query.sink) if query.sink else None
    where: dict[str, Any] = {"sink_id": found.id if found else query.sink} if query.sink else {}
    return await page_of(tx, DeliveryRow, query, **where)


async def audit(tx: Transaction, query: ListAudit) -> tuple[list[AuditRow], str | None]:
    """A page of audit rows, newest first, and the token of the next one."""
    where = query.model_dump(include={"project", "actor", "action"}, exclude_none=True)
    return await page_of(tx, AuditRow, query, **where)


async def untold(tx: Transaction, limit: int) -> Sequence[OutboxRow]:
    """Changes that are still to be told, in the order in which they were made."""
    return await tx.find(OutboxRow, limit=limit)


async def forget_before(tx: Transaction, moment: datetime, *, limit: int = 500) -> int:
    """Delete alerts, silences and deliveries that were over before this moment; how many there were."""
    old_alerts = await tx.find(AlertRow, resolved_at=Lt(moment), waits_for_end=False, limit=limit)
    old_silences = await tx.find(SilenceRow, ends_at=Lt(moment), limit=limit)
    old_deliveries = await tx.find(DeliveryRow, done_at=Lt(moment), limit=limit)
    old = (*old_alerts, *old_silences, *old_deliveries)
    for row in old:
        tx.delete(row)
    return len(old)
