"""Whether the gateway lives, whether it can work, how it fares, and how it is used."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lattice.errors import Temporary
from lattice.metrics import exposition, instruments
from services.gateway import docs_page
from services.gateway.answers import JSON, answer
from services.gateway.call import CurrentCall, GuardedRoute
from services.gateway.schemas import Health

router = APIRouter(route_class=GuardedRoute, tags=["health"])
_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}


@router.get("/healthz", response_model=Health)
async def healthz() -> Response:
    """The process lives."""
    return answer(Health())


@router.get("/readyz", response_model=Health)
async def readyz(call: CurrentCall) -> Response:
    """The bus and the database answer; 503 says which does not."""
    said = await asyncio.gather(call.gateway.bus_problem(), call.gateway.database_problem())
    missing = [problem for problem in said if problem]
    if missing:
        raise Temporary(f"Not ready: {'; '.join(missing)}.")
    return answer(Health())


@router.get("/metrics", response_class=Response, responses={200: _TEXT})
async def show_metrics() -> Response:
    """This process in Prometheus's text format."""
    return Response(instruments.render(), media_type=exposition.CONTENT_TYPE)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """The document that describes this API."""
    return Response((await _reference(request)).document, media_type=JSON)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The same for people."""
    page = (await _reference(request)).page
    return Response(page, media_type="text/html", headers=docs_page.HEADERS)


@router.get("/docs/style.css", include_in_schema=False)
async def docs_style(request: Request) -> Response:
    """How it looks."""
    style = (await _reference(request)).style
    return Response(style, media_type="text/css", headers=docs_page.HEADERS)


async def _reference(request: Request) -> docs_page.Reference:
    """In a thread, because others wait while it is made."""
    made: docs_page.Reference = await asyncio.to_thread(request.app.state.reference)
    return made
