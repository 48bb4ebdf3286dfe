"""Public addresses of workloads: closed by the platform's operators where they are abused, and opened again."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from lattice.contracts import catalogue
from lattice.contracts.messages import RouteCommand
from lattice.contracts.views import RouteView
from services.gateway.answers import answer
from services.gateway.call import CurrentCall, GuardedRoute
from services.gateway.names import Ref
from services.gateway.schemas import ForTheRecord

router = APIRouter(route_class=GuardedRoute, tags=["routes"])


@router.post("/v1/routes/{id}/take-down", response_model=RouteView)
async def take_down(call: CurrentCall, ref: Ref, body: ForTheRecord | None = None) -> Response:
    """Let nobody in by a public name or port; visitors are told why."""
    request = RouteCommand(caller=call.caller, route=ref, reason=body.reason if body else "")
    return answer(await call.ask(catalogue.TAKE_ROUTE_DOWN, request))


@router.post("/v1/routes/{id}/restore", response_model=RouteView)
async def restore(call: CurrentCall, ref: Ref, body: ForTheRecord | None = None) -> Response:
    """Let visitors in again."""
    request = RouteCommand(caller=call.caller, route=ref, reason=body.reason if body else "")
    return answer(await call.ask(catalogue.RESTORE_ROUTE, request))
