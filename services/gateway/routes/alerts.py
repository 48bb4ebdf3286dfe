"""Alerts: seen, followed, looked after, silenced."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Body, Query
from starlette.responses import Response

from lattice.contracts import catalogue
from lattice.contracts.catalogue import Rpc
from lattice.contracts.messages import (
    PLATFORM,
    Alert,
    AlertCommand,
    CreateSilence,
    EndSilence,
    GetAlert,
    ListAlerts,
    Matchers,
    Page,
    Severity,
    SilenceView,
)
from lattice.contracts.nouns import Role
from lattice.contracts.views import Listing
from lattice.errors import Invalid, NotFound
from services.gateway import sse
from services.gateway.answers import answer
from services.gateway.call import Call, CurrentCall, GuardedRoute
from services.gateway.names import Ref
from services.gateway.routes.paging import PageOf
from services.gateway.schemas import AlertNoteBody, CreateSilenceBody, Flag, SilenceAlertBody

router = APIRouter(route_class=GuardedRoute, tags=["alerts"])

Remark = Annotated[AlertNoteBody, Body()]
NOTHING_SAID = AlertNoteBody()
AlertName = Annotated[str | None, Query(pattern=r"^[A-Za-z][A-Za-z0-9]{0,63}$")]


@router.get(
    "/v1/alerts",
    response_model=Listing[Alert],
    responses={200: {"content": {sse.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Alert"}}}}},
)
async def list_alerts(
    call: CurrentCall,
    page: PageOf,
    *,
    severity: Severity | None = None,
    name: AlertName = None,
    resolved: Annotated[Flag, Query(description="also those that are over, of the last 30 days")] = False,
    follow: Flag = False,
) -> Response:
    """Alerts that are not over, newest first; with `follow=true` a stream of these and then of each change."""
    project = call.project_or_all
    if follow:
        return sse.EventStream(_followed(call, project))
    query = ListAlerts(**dict(page), project=project, severity=severity, name=name, resolved=resolved)
    return answer(await call.ask(catalogue.LIST_ALERTS, query))


async def _followed(call: Call, project: str | None) -> AsyncGenerator[bytes, None]:
    gateway = call.gateway
    with gateway.streams.opened(call.me.credential_id) as ended:
        async with aclosing(gateway.alerts.follow(project, ended=ended)) as alerts:
            async for alert in alerts:
                yield sse.KEEPALIVE if alert is None else _event(alert)


def _event(alert: Alert) -> bytes:
    return sse.event(alert.model_dump_json(), name=f"alert.{alert.change.value}")


@router.get("/v1/alerts/{id}", response_model=Alert)
async def get_alert(call: CurrentCall, ref: Ref) -> Response:
    """One alert."""
    return answer(await _alert(call, ref, Role.VIEWER))


async def _alert(call: Call, ref: str, role: Role) -> Alert:
    """An alert over whose project the caller has this role; over one of the platform, everything but looking takes an operator."""
    unseen = NotFound(f"There is no alert {ref!r} that you can see: `lattice alerts ls` shows those.")
    try:
        alert = await call.ask(catalogue.GET_ALERT, GetAlert(ref=ref))
    except NotFound:
        raise unseen from None
    project = None if alert.project == PLATFORM else alert.project
    await call.require_for(_over(project, role), project, unseen=unseen)
    return alert


def _over(project: str | None, role: Role) -> Role:
    return Role.OPERATOR if project is None and role is not Role.VIEWER else role


@router.post("/v1/alerts/{id}/ack", response_model=Alert)
async def acknowledge(call: CurrentCall, ref: Ref, body: Remark = NOTHING_SAID) -> Response:
    """Say that you look after it."""
    return await _command(call, ref, catalogue.ACKNOWLEDGE_ALERT, body)


@router.post("/v1/alerts/{id}/resolve", response_model=Alert)
async def resolve(call: CurrentCall, ref: Ref, body: Remark = NOTHING_SAID) -> Response:
    """Say that it is over.  Where it still is so, it opens again only after it was well once, or when it happens another time."""
    return await _command(call, ref, catalogue.RESOLVE_ALERT, body)


async def _command(call: Call, ref: str, rpc: Rpc[AlertCommand, Alert], body: AlertNoteBody) -> Response:
    await _alert(call, ref, Role.DEPLOYER)
    return answer(await call.ask(rpc, AlertCommand(caller=call.caller, ref=ref, note=body.note)))


@router.post("/v1/alerts/{id}/silence", status_code=201, response_model=SilenceView)
async def silence_alert(call: CurrentCall, ref: Ref, body: SilenceAlertBody) -> Response:
    """Tell nobody of it for a while, nor of the same one should it come back meanwhile."""
    alert = await _alert(call, ref, Role.DEPLOYER)
    project = None if alert.project == PLATFORM else alert.project
    matchers = Matchers(fingerprint=alert.fingerprint, project=project)
    return await _silence(call, matchers, None, body.for_s, body.reason)


@router.get("/v1/silences", response_model=Listing[SilenceView])
async def list_silences(call: CurrentCall) -> Response:
    """Silences and maintenance windows that are not over."""
    listing = await call.ask(catalogue.LIST_SILENCES, Page())
    project = call.project_or_all
    shown = tuple(each for each in listing.items if project in (None, each.matchers.project))
    return answer(Listing[SilenceView](items=shown))


@router.post("/v1/silences", status_code=201, response_model=SilenceView)
async def create_silence(call: CurrentCall, body: CreateSilenceBody) -> Response:
    """Tell nobody of certain alerts for a while; those of a project may be silenced by who deploys there."""
    given = body.model_dump(include={"name", "project", "severity", "entity"})
    matchers = Matchers(**given)
    await call.require(_over(matchers.project, Role.DEPLOYER), matchers.project)
    return await _silence(call, matchers, body.starts_at, body.for_s, body.reason)


async def _silence(
    call: Call, matchers: Matchers, starts_at: datetime | None, for_s: float, reason: str
) -> Response:
    begins = starts_at or call.gateway.clock.now()
    request = CreateSilence(
        caller=call.caller,
        matchers=matchers,
        starts_at=starts_at,
        ends_at=_end(begins, for_s),
        reason=reason,
    )
    return answer(await call.ask(catalogue.CREATE_SILENCE, request), status=201)


def _end(begins: datetime, for_s: float) -> datetime:
    try:
        return begins + timedelta(seconds=for_s)
    except OverflowError as error:
        detail = "it ends after the last year that calendars here know"
        raise Invalid(
            f"starts_at is wrong: {detail}.", errors=[{"pointer": "/starts_at", "detail": detail}]
        ) from error


@router.delete("/v1/silences/{id}", response_model=SilenceView)
async def end_silence(call: CurrentCall, ref: Ref) -> Response:
    """End it now: what is still so is told again."""
    listing = await call.ask(catalogue.LIST_SILENCES, Page())
    unseen = NotFound(f"There is no silence {ref!r} that you can see: `lattice alerts silences` shows those.")
    found = next((each for each in listing.items if each.id == ref), None)
    project = found.matchers.project if found else None
    await call.require_for(_over(project, Role.DEPLOYER), project, unseen=unseen)
    return answer(await call.ask(catalogue.END_SILENCE, EndSilence(caller=call.caller, ref=ref)))
