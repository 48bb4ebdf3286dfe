"""Builds the gateway from its settings, a bus and a store, so that tests run it with doubles and in one process with all else."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, APIWebSocketRoute
from loguru import logger
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

import lattice
from lattice.background import Background
from lattice.clock import Clock
from lattice.errors import LatticeError
from lattice.ids import new_id
from lattice.messaging import Bus
from lattice.pki_files import client_context
from lattice.settings import BusSettings
from lattice.storage import Store
from services.gateway import docs_page, housekeeping, openapi, problems
from services.gateway.accounts import Accounts
from services.gateway.alert_feed import AlertFeed
from services.gateway.audit import Trail
from services.gateway.auth import Authenticator
from services.gateway.call import GuardedRoute
from services.gateway.context import Gateway
from services.gateway.edge import Edge, security_headers
from services.gateway.fact_feed import FactFeed
from services.gateway.ingress_link import IngressLink
from services.gateway.open_streams import OpenStreams
from services.gateway.passwords import Passwords
from services.gateway.policy import NoPolicy, rule_for
from services.gateway.routes import (
    addresses,
    alerts,
    apps,
    forward,
    health,
    history,
    logs,
    loki,
    loki_tail,
    metrics,
    nodes,
    platform,
    sign_in,
    sinks,
    sre_credentials,
    terminal,
    users,
    workloads,
)
from services.gateway.settings import GatewaySettings
from services.gateway.sign_in import SignIns
from services.gateway.throttle import Throttle

_MODULES = (
    sign_in,
    users,
    nodes,
    workloads,
    addresses,
    apps,
    logs,
    loki,
    loki_tail,
    metrics,
    terminal,
    forward,
    platform,
    history,
    alerts,
    sinks,
    sre_credentials,
    health,
)


def create_app(settings: GatewaySettings, bus: Bus, store: Store, clock: Clock) -> FastAPI:
    """The ASGI application; entering its lifespan starts its loops."""
    gateway = build_gateway(settings, bus, store, clock)
    app = FastAPI(
        title="Lattice",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False},
        lifespan=partial(_running, gateway),
    )
    routes = all_routes()
    check_policy(routes)
    app.router.routes.extend(routes)
    app.state.gateway, app.state.reference = gateway, reference
    app.add_exception_handler(LatticeError, _refused)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _not_served)
    app.add_middleware(
        Edge,
        clock=clock,
        new_id=partial(new_id, "rq", clock=clock),
        headers=security_headers(settings.public_url),
        max_body_bytes=settings.max_body_bytes,
    )
    return app


def build_gateway(settings: GatewaySettings, bus: Bus, store: Store, clock: Clock) -> Gateway:
    """The parts, wired."""
    trail, throttle = Trail(store, clock), Throttle()
    authenticator = Authenticator(store, clock)
    passwords = Passwords(memory_kib=settings.password_memory_kib)
    return Gateway(
        settings=settings,
        bus=bus,
        store=store,
        clock=clock,
        trail=trail,
        authenticator=authenticator,
        accounts=Accounts(store, clock, trail, passwords, authenticator),
        sign_ins=SignIns(
            store, clock, trail, passwords, throttle, authenticator, session_ttl_s=settings.session_ttl_s
        ),
        throttle=throttle,
        facts=FactFeed(bus, quiet_s=settings.stream_keepalive_s),
        alerts=AlertFeed(bus, quiet_s=settings.stream_keepalive_s),
        streams=OpenStreams(store, clock),
        ingress=IngressLink(settings.ingress_addresses, partial(_service_tls, settings.bus)),
    )


def _service_tls(bus: BusSettings) -> ssl.SSLContext:
    """With the certificate that the gateway shows to the bus: it says which of our services it is."""
    return client_context(bus.ca_file, certificate_file=bus.cert_file, key_file=bus.key_file)


def all_routes() -> list[BaseRoute]:
    """Every route, in order.  Taken as they are instead of included: the framework would match each included router twice."""
    return [route for module in _MODULES for route in module.router.routes]


def check_policy(routes: list[BaseRoute]) -> None:
    """NoPolicy if a route is not behind the guard or has no entry in the table."""
    for route in routes:
        if isinstance(route, APIWebSocketRoute):
            rule_for("WS", route.path)
        elif isinstance(route, GuardedRoute):
            for method in route.methods or ():
                rule_for(method, route.path)
        else:
            raise NoPolicy(f"{route} is not a guarded route")


def describe() -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    return openapi.document(all_routes(), version=lattice.__version__)


@cache
def reference() -> docs_page.Reference:
    """Made when somebody asks for it, not at the start: it takes a third of a second."""
    described = describe()
    return docs_page.Reference(openapi.text(described), docs_page.page(described), docs_page.style())


@asynccontextmanager
async def _running(gateway: Gateway, _app: FastAPI) -> AsyncIterator[None]:
    await gateway.facts.start()
    await gateway.alerts.start()
    async with Background() as background:
        background.start("gateway open streams", gateway.streams.watch)
        background.start("gateway link to an ingress", gateway.ingress.watch)
        background.start("gateway housekeeping", partial(housekeeping.keep_house, gateway))
        try:
            yield
        finally:
            gateway.streams.end_all()
            gateway.ingress.close()
            await gateway.facts.stop()
            await gateway.alerts.stop()


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, LatticeError)
    if error.status >= 500:
        logger.opt(exception=error).warning("{} {} ended in {}", request.method, request.url.path, error.code)
    return problems.answer_for(error, path=request.url.path, request_id=request.scope["state"]["request_id"])


async def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await _refused(request, problems.from_validation(error))


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        error.headers = {"Allow": ", ".join(_methods_at(request))}
    return problems.answer_for_http(
        error, path=request.url.path, request_id=request.scope["state"]["request_id"]
    )


def _methods_at(request: Request) -> list[str]:
    """Every method of a path.  The framework names those of the first route that matches only.

    A path that is a route's own (`/v1/nodes/register`) is not meant as the thing of that name (`/v1/nodes/{id}`).
    """
    routes = [
        route
        for route in request.app.router.routes
        if isinstance(route, APIRoute) and route.matches(request.scope)[0] is not Match.NONE
    ]
    own = [route for route in routes if route.path == request.url.path]
    return sorted(method for route in own or routes for method in route.methods or ())
