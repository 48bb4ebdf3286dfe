"""What people ask of alerts: see them, look after them, have silence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

from lattice.contracts import catalogue as c
from lattice.contracts.catalogue import EVERY_SCOPE, Rpc
from lattice.contracts.messages import (
    PLATFORM,
    Alert,
    AlertChange,
    AlertCommand,
    AlertOrder,
    AlertState,
    Caller,
    CreateSilence,
    EndSilence,
    GetAlert,
    ListAlerts,
    ListAudit,
    Matchers,
    Page,
    SilenceOrder,
    SilenceView,
)
from lattice.contracts.views import AuditView, Listing
from lattice.errors import Conflict, FieldError, Invalid, NotFound
from lattice.messaging import Bus
from lattice.storage import Transaction
from services.alerts import foreign, sinks
from services.alerts import store as queries
from services.alerts.change import Deps, alert_of
from services.alerts.sinks import SinkDeps
from services.alerts.tables import AlertRow, SilenceRow

Handler = Callable[..., Awaitable[Any]]


async def list_alerts(deps: Deps, request: ListAlerts) -> Listing[Alert]:
    """Alerts, newest first."""
    async with deps.store.transaction() as tx:
        rows, token = await queries.alerts(tx, request)
    return Listing(items=tuple(alert_of(row, deps.pages) for row in rows), next_page_token=token)


async def get_alert(deps: Deps, request: GetAlert) -> Alert:
    """One alert."""
    async with deps.store.transaction() as tx:
        return alert_of(await _find(tx, request.ref), deps.pages)


async def _find(tx: Transaction, ref: str, *, lock: bool = False) -> AlertRow:
    row = await queries.alert(tx, ref, lock=lock)
    if row is None:
        raise NotFound(f"There is no alert {ref!r}: `lattice alerts ls` shows them.")
    return row


async def _find_living(tx: Transaction, ref: str) -> AlertRow:
    row = await _find(tx, ref, lock=True)
    if row.resolved_at is not None:
        raise Conflict(f"Alert {ref} was over at {row.resolved_at:%Y-%m-%d %H:%M} UTC.")
    return row


async def acknowledge_alert(deps: Deps, request: AlertCommand) -> Alert:
    """Somebody looks after it: it stays until it is over."""
    async with deps.change() as change:
        row = await _find_living(change.tx, request.ref)
        told = {"acknowledged_by": request.caller.actor, "note": request.note}
        after = change.write(row, AlertChange.ACKNOWLEDGED, state=AlertState.ACKNOWLEDGED.value, **told)
        entity = ("alert", row.id, row.name)
        change.audit(request.caller, "alert.acknowledge", entity, project=row.project, after=told)
        return alert_of(after, deps.pages)


async def resolve_alert(deps: Deps, request: AlertCommand) -> Alert:
    """Somebody says that it is over.  If it still is so, it opens again only after it was well once, or when it happens another time."""
    async with deps.change() as change:
        row = await _find_living(change.tx, request.ref)
        told = {"resolved_by": request.caller.actor, "note": request.note}
        after = change.write(
            row,
            AlertChange.RESOLVED,
            state=AlertState.RESOLVED.value,
            resolved_at=change.now,
            waits_for_end=True,
            **told,
        )
        entity = ("alert", row.id, row.name)
        change.audit(request.caller, "alert.resolve", entity, project=row.project, after=told)
        return alert_of(after, deps.pages)


async def list_silences(deps: Deps, request: Page) -> Listing[SilenceView]:
    """Silences and windows that are not over; few enough for one page."""
    async with deps.store.transaction() as tx:
        rows = await queries.silences(tx, deps.now())
    return Listing(items=tuple(_silence_view(row, deps) for row in rows))


async def create_silence(deps: Deps, request: CreateSilence) -> SilenceView:
    """A silence, or a window that is announced."""
    async with deps.change() as change:
        starts_at = request.starts_at or change.now
        _check_silence(request, ends_late=request.ends_at > max(starts_at, change.now))
        row = SilenceRow(
            id=change.new_id("si"),
            matchers=request.matchers.model_dump(mode="json", exclude_none=True),
            starts_at=starts_at,
            ends_at=request.ends_at,
            reason=request.reason,
            created_by=request.caller.actor,
            created_at=change.now,
        )
        change.tx.add(row)
        view = _silence_view(row, deps)
        after = view.model_dump(mode="json", include={"matchers", "starts_at", "ends_at", "reason"})
        entity = ("silence", row.id, "")
        change.audit(request.caller, "silence.create", entity, project=request.matchers.project, after=after)
    return view


def _check_silence(request: CreateSilence, *, ends_late: bool) -> None:
    if not request.matchers.model_dump(exclude_none=True):
        raise _wrong("/matchers", "say which alerts: by name, project, severity, entity or fingerprint")
    if not ends_late:
        raise _wrong("/ends_at", "it must end after it starts, and in the future")
    if not request.reason.strip():
        raise _wrong("/reason", "say why, for those who find it")


def _wrong(pointer: str, detail: str) -> Invalid:
    return Invalid(f"This silence cannot be: {detail}.", errors=[FieldError(pointer=pointer, detail=detail)])


async def end_silence(deps: Deps, request: EndSilence) -> SilenceView:
    """End it now; what is still so is told again with the next look."""
    async with deps.change() as change:
        row = await queries.silence(change.tx, request.ref)
        if row is None or row.ends_at <= change.now:
            raise NotFound(f"There is no silence {request.ref!r}: `lattice alerts silences` shows them.")
        after = change.tx.update(row, ends_at=change.now)
        entity = ("silence", row.id, "")
        project = Matchers.model_validate(row.matchers).project
        ends = {"ends_at": row.ends_at.isoformat()}
        change.audit(request.caller, "silence.end", entity, project=project, before=ends)
        view = _silence_view(after, deps)
    deps.look()
    return view


def _silence_view(row: SilenceRow, deps: Deps) -> SilenceView:
    return SilenceView(
        id=row.id,
        matchers=Matchers.model_validate(row.matchers),
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        reason=row.reason,
        created_by=row.created_by,
        active=row.starts_at <= deps.now() < row.ends_at,
    )


async def list_audit(deps: Deps, request: ListAudit) -> Listing[AuditView]:
    """What people did about alerts, newest first."""
    async with deps.store.transaction() as tx:
        rows, token = await queries.audit(tx, request)
    views = tuple(AuditView.model_validate(row, from_attributes=True) for row in rows)
    return Listing(items=views, next_page_token=token)


# --- orders at the bus -------------------------------------------------------------------------------------


async def order_acknowledge(deps: Deps, request: AlertOrder, *, scope: str, credential_id: str) -> Alert:
    """Somebody at the bus looks after it."""
    await _check_scope(deps, request.alert, scope)
    return await acknowledge_alert(deps, _command(request, credential_id))


async def order_resolve(deps: Deps, request: AlertOrder, *, scope: str, credential_id: str) -> Alert:
    """Somebody at the bus says that it is over."""
    await _check_scope(deps, request.alert, scope)
    return await resolve_alert(deps, _command(request, credential_id))


async def order_silence(deps: Deps, request: SilenceOrder, *, scope: str, credential_id: str) -> SilenceView:
    """Somebody at the bus wants to hear nothing of it for a while."""
    alert = await _check_scope(deps, request.alert, scope)
    matchers = Matchers(
        fingerprint=alert.fingerprint, project=None if alert.project == PLATFORM else alert.project
    )
    silence = CreateSilence(
        caller=_orderer(credential_id),
        matchers=matchers,
        ends_at=deps.now() + timedelta(seconds=request.for_s),
        reason=request.reason,
    )
    return await create_silence(deps, silence)


async def _check_scope(deps: Deps, ref: str, scope: str) -> Alert:
    """The alert, if the credential is for its project: the bus let it publish on subjects of its own scope only."""
    alert = await get_alert(deps, GetAlert(ref=ref))
    if scope not in (EVERY_SCOPE, alert.project):
        raise NotFound(f"There is no alert {ref!r}: `lattice alerts ls` shows them.")
    return alert


def _command(request: AlertOrder, credential_id: str) -> AlertCommand:
    return AlertCommand(caller=_orderer(credential_id), ref=request.alert, note=request.note)


def _orderer(credential_id: str) -> Caller:
    return Caller(actor=f"sre:{credential_id}")


HANDLERS: dict[Rpc[Any, Any], Handler] = {
    c.LIST_ALERTS: list_alerts,
    c.GET_ALERT: get_alert,
    c.ACKNOWLEDGE_ALERT: acknowledge_alert,
    c.RESOLVE_ALERT: resolve_alert,
    c.LIST_SILENCES: list_silences,
    c.CREATE_SILENCE: create_silence,
    c.END_SILENCE: end_silence,
    c.LIST_ALERT_AUDIT: list_audit,
    c.RECEIVE_ALERTS: foreign.receive_alerts,
    c.ORDER_ACKNOWLEDGE: order_acknowledge,
    c.ORDER_RESOLVE: order_resolve,
    c.ORDER_SILENCE: order_silence,
}


ABOUT_SINKS: dict[Rpc[Any, Any], Handler] = {
    c.CREATE_SINK: sinks.create_sink,
    c.LIST_SINKS: sinks.list_sinks,
    c.REMOVE_SINK: sinks.remove_sink,
    c.TEST_SINK: sinks.test_sink,
    c.LIST_DELIVERIES: sinks.list_deliveries,
}


async def serve_all(bus: Bus, deps: Deps, about_sinks: SinkDeps) -> None:
    """Answer every request of the catalogue that is ours."""
    for rpc, handler in HANDLERS.items():
        await bus.serve(rpc, partial(handler, deps))
    for rpc, handler in ABOUT_SINKS.items():
        await bus.serve(rpc, partial(handler, about_sinks))
