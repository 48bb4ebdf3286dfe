"""Where people are told of alerts, what was told to whom, and the door for an Alertmanager's own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from lattice.contracts import catalogue
from lattice.contracts.messages import (
    AlertsReceived,
    CreateSink,
    DeliveryView,
    ForeignAlert,
    ListDeliveries,
    Page,
    ReceiveAlerts,
    SinkCommand,
    SinkTested,
    SinkView,
)
from lattice.contracts.views import Listing
from services.gateway.answers import answer, nothing
from services.gateway.call import CurrentCall, GuardedRoute
from services.gateway.names import Ref
from services.gateway.routes.paging import PageOf
from services.gateway.schemas import AlertmanagerWebhook, CreateSinkBody

router = APIRouter(route_class=GuardedRoute, tags=["alerts"])

OfSink = Annotated[str | None, Query(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="a sink's id or name")]


@router.get("/v1/sinks", response_model=Listing[SinkView])
async def list_sinks(call: CurrentCall) -> Response:
    """Where people are told of alerts; addresses are not shown."""
    return answer(await call.ask(catalogue.LIST_SINKS, Page()))


@router.post("/v1/sinks", status_code=201, response_model=SinkView)
async def create_sink(call: CurrentCall, body: CreateSinkBody) -> Response:
    """Tell people there of what happens from now on."""
    request = CreateSink(caller=call.caller, **dict(body))
    return answer(await call.ask(catalogue.CREATE_SINK, request), status=201)


@router.delete("/v1/sinks/{id}", status_code=204)
async def remove_sink(call: CurrentCall, ref: Ref) -> Response:
    """Tell nobody there any more."""
    await call.ask(catalogue.REMOVE_SINK, SinkCommand(caller=call.caller, ref=ref))
    return nothing()


@router.post("/v1/sinks/{id}/test", response_model=SinkTested)
async def test_sink(call: CurrentCall, ref: Ref) -> Response:
    """Send a test there now, and answer what the other side said."""
    return answer(await call.ask(catalogue.TEST_SINK, SinkCommand(caller=call.caller, ref=ref)))


@router.get("/v1/deliveries", response_model=Listing[DeliveryView])
async def list_deliveries(call: CurrentCall, page: PageOf, sink: OfSink = None) -> Response:
    """What was told to whom, newest first."""
    return answer(await call.ask(catalogue.LIST_DELIVERIES, ListDeliveries(**dict(page), sink=sink)))


@router.post("/v1/alertmanager", response_model=AlertsReceived)
async def receive(call: CurrentCall, body: AlertmanagerWebhook) -> Response:
    """The webhook of an Alertmanager (version 4): its alerts are told, looked after and silenced like ours."""
    alerts = tuple(
        ForeignAlert(
            fingerprint=each.fingerprint,
            firing=each.status == "firing",
            labels=each.labels,
            annotations=each.annotations,
        )
        for each in body.alerts
    )
    return answer(await call.ask(catalogue.RECEIVE_ALERTS, ReceiveAlerts(alerts=alerts)))
