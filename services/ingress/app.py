"""Builds an ingress: routes from the bus, nodes through their tunnels, visitors over HTTP and HTTPS.

`Ingress` takes a bus, whichever it is, so that tests run it in memory; `build` makes the real one.  Several may run side by side: each has all
routes, and each node dials all of them.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

from loguru import logger

from lattice.background import Background
from lattice.bus import NatsBus
from lattice.contracts.catalogue import LINK, ROUTE
from lattice.contracts.messages import LinkDocument, RouteDocument
from lattice.messaging import Bus, Received, Subscription
from lattice.metrics import instruments
from lattice.own_logs import OwnLogs
from lattice.own_metrics import OwnMetrics
from lattice.pki_files import website_context
from lattice.process import Checks
from lattice.renewing_tls import RenewingTls
from services.ingress import metrics
from services.ingress.calls import Calls
from services.ingress.guests import Guests
from services.ingress.http_front import HttpFront
from services.ingress.places import Places
from services.ingress.settings import LISTEN_BACKLOG, IngressSettings
from services.ingress.sweep import Sweep
from services.ingress.tcp_front import TcpFront
from services.ingress.time_limits import TimeLimits
from services.ingress.tls_front import TlsFront
from services.ingress.tunnels import Tunnels

_DRAIN_S = 8.0
_HANDSHAKE_WITHIN_S = 10.0
_LOOK_AT_FILES_S = 5.0


class Ports(NamedTuple):
    """Where an ingress listens; `https` is 0 where it has no certificate for visitors."""

    nodes: int
    http: int
    tls: int
    https: int = 0


class Ingress:
    """One process; `start` makes it serve, its loops run in the `Background` that it is given."""

    def __init__(self, settings: IngressSettings, bus: Bus) -> None:
        self._settings, self._bus = settings, bus
        limits = TimeLimits(idle_s=settings.tcp_idle_timeout_s, total_s=settings.total_timeout_s)
        self.sweep = Sweep(limits)
        self.tunnels = Tunnels()
        self.places = Places(self.tunnels, patience_s=settings.place_timeout_s)
        self.tunnels.on_node_came = self.places.node_came
        self.calls = Calls(self.tunnels, self.places, self.sweep)
        self.tunnels.on_called = self.calls.answer
        self.http = HttpFront(settings, self.places)
        self.guests = Guests(self.places, self.sweep, max_connections=settings.max_connections)
        self.tcp = TcpFront(self.guests, settings.listen_host)
        self.tls = TlsFront(
            self.guests, apps_domain=settings.apps_domain, hello_timeout_s=settings.head_timeout_s
        )
        self._knows_routes = False
        self._subscriptions: list[Subscription] = []
        self._servers: list[asyncio.Server] = []

    async def start(
        self, background: Background, tls: ssl.SSLContext, web_tls: ssl.SSLContext | None = None
    ) -> None:
        """Let nodes and visitors in, over HTTPS only with a certificate for them."""
        self._subscriptions.append(await self._bus.subscribe(ROUTE, self._take_route))
        self._subscriptions.append(await self._bus.subscribe(LINK, self._take_link))
        self._bus.on_connected(self._read_routes)
        background.start("tunnels", self.tunnels.watch)
        background.start("tcp ports", self.tcp.run)
        background.start("limits of time", self.sweep.run)
        loop, settings = asyncio.get_running_loop(), self._settings
        self._servers = [
            await loop.create_server(
                self.tunnels.new_link,
                settings.listen_host,
                settings.tunnel_port,
                ssl=tls,
                ssl_handshake_timeout=_HANDSHAKE_WITHIN_S,
                backlog=LISTEN_BACKLOG,
            ),
            await asyncio.start_server(
                self.http.serve, settings.listen_host, settings.http_port, backlog=LISTEN_BACKLOG
            ),
            await loop.create_server(
                self.tls.stranger, settings.listen_host, settings.tls_port, backlog=LISTEN_BACKLOG
            ),
        ]
        if web_tls is not None:
            self._servers.append(await self._listen_for_https(web_tls))
        logger.info(
            "on {}: nodes dial {}, visitors come to {} (HTTP), {} (TLS of workloads) and {} (HTTPS)",
            settings.listen_host,
            *self.ports,
        )

    async def _listen_for_https(self, web_tls: ssl.SSLContext) -> asyncio.Server:
        return await asyncio.start_server(
            self.http.serve,
            self._settings.listen_host,
            self._settings.https_port,
            ssl=web_tls,
            ssl_handshake_timeout=_HANDSHAKE_WITHIN_S,
            backlog=LISTEN_BACKLOG,
        )

    @property
    def ports(self) -> Ports:
        """Where it listens."""
        return Ports(*(server.sockets[0].getsockname()[1] for server in self._servers))

    async def ready(self) -> str:
        """A readiness check: it has to know the routes."""
        return "" if self._knows_routes else "the routes are not known yet: the bus has not answered"

    async def stop(self) -> None:
        """Take nobody more, let exchanges end, then end the links."""
        for subscription in self._subscriptions:
            await subscription.stop()
        for server in self._servers:
            server.close()
        self.tcp.close()
        self.tls.close()
        await asyncio.gather(
            self.http.drain(_DRAIN_S), self.guests.close(_DRAIN_S), self.calls.close(_DRAIN_S)
        )
        self.tunnels.close()

    async def _take_route(self, received: Received[RouteDocument]) -> None:
        self._take([received.message])

    async def _take_link(self, received: Received[LinkDocument]) -> None:
        self.places.take_links([received.message])

    async def _read_routes(self) -> None:
        """After each connect: what was said while the link was down was not heard."""
        self._take([each.message for each in await self._bus.newest_of_each(ROUTE)])
        self.places.take_links([each.message for each in await self._bus.newest_of_each(LINK)])
        self._knows_routes = True

    def _take(self, documents: Sequence[RouteDocument]) -> None:
        self.places.take(documents)
        self.tcp.follow_routes()
        if any(each.taken_down for each in documents):
            self.guests.end_those_of_closed_routes()
        table = self.places.table
        metrics.ROUTES.set(len(table.by_label) + len(table.by_port))


@asynccontextmanager
async def build(settings: IngressSettings) -> AsyncIterator[Checks]:
    """The ingress on NATS."""
    tls = RenewingTls(settings.tls_cert_file, settings.tls_key_file, client_ca_file=settings.ca_file)
    web_tls = _web_tls(settings)
    async with NatsBus(settings.bus, identity="ingress") as bus, Background() as background:
        background.start("own-logs", OwnLogs.of_service("ingress", bus).run)
        background.start("own-metrics", OwnMetrics("ingress", bus).run)
        ingress = Ingress(settings, bus)
        instruments.measure("tunnels", partial(metrics.tunnelled, ingress.tunnels.traffic))
        background.start("certificate", partial(tls.follow, _LOOK_AT_FILES_S))
        if web_tls is not None:
            background.start("certificate for visitors", partial(web_tls.follow, _LOOK_AT_FILES_S))
        await ingress.start(background, tls.context, web_tls.context if web_tls else None)
        try:
            yield {"bus": bus.ready, "routes": ingress.ready}
        finally:
            await ingress.stop()


def _web_tls(settings: IngressSettings) -> RenewingTls | None:
    """What visitors are shown over HTTPS, the platform's certificate or a person's own.  Raises Invalid for files that are no such thing."""
    certificate = settings.web_cert_file
    if certificate is None:
        return None
    return RenewingTls(certificate, settings.web_key_file or certificate, make=website_context)
