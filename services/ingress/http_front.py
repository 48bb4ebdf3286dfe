"""Where visitors come in over HTTP: one task per connection, one exchange after the other."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

import h11
from loguru import logger

from lattice.contracts.messages import RouteDocument, RouteGuard
from lattice.errors import Temporary
from lattice.tunnel_pipe import TunnelPipe
from services.ingress import metrics, pages
from services.ingress.exchange import Exchange, Refused, Terms, Unanswered
from services.ingress.guards import Guards
from services.ingress.headers import Headers, client_of, why_refused
from services.ingress.pages import Page
from services.ingress.places import Led, Places
from services.ingress.routing import Nowhere
from services.ingress.settings import IngressSettings
from services.ingress.sweep import ended_by
from services.ingress.time_limits import Limit
from services.ingress.visitor import Visitor, VisitorGone

KNOWN_NAME = "/lattice/known-name"


class HttpFront:
    """Answers visitors, from the places that routes have."""

    def __init__(self, settings: IngressSettings, places: Places) -> None:
        self._settings, self._places = settings, places
        self._guards = Guards()
        self._visitors: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first byte to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._visitors.add(task)
        metrics.VISITORS.set(len(self._visitors))
        visitor = Visitor(reader, writer, write_timeout_s=self._settings.idle_timeout_s)
        try:
            await self._serve(visitor)
        except (VisitorGone, TimeoutError, Temporary, h11.LocalProtocolError) as error:
            logger.debug("a visitor's connection ended: {}", error)
        finally:
            self._visitors.discard(task)
            metrics.VISITORS.set(len(self._visitors))
            await visitor.close()

    async def drain(self, timeout_s: float) -> None:
        """Let exchanges end that are under way, take no further ones; end what is left after the time."""
        self._is_stopping = True
        for task in self._waiting:
            task.cancel()
        if self._visitors:
            await asyncio.wait(self._visitors, timeout=timeout_s)
        for task in self._visitors:
            task.cancel()

    async def _serve(self, visitor: Visitor) -> None:
        if len(self._visitors) > self._settings.max_connections:
            await visitor.show(pages.too_many())
            return
        timeout_s = self._settings.head_timeout_s
        while not self._is_stopping:
            try:
                request = await self._next_request(visitor, timeout_s)
            except TimeoutError:
                if not visitor.is_silent:  # else it is a connection that nobody needs any more
                    await visitor.show(pages.too_slow_a_request())
                return
            except h11.RemoteProtocolError as error:
                await visitor.show(pages.bad_request(str(error)))
                return
            assert isinstance(request, h11.Request)
            await self._answer(visitor, request)
            if not visitor.may_ask_again():
                return

    async def _next_request(self, visitor: Visitor, timeout_s: float) -> h11.Event | type[h11.PAUSED]:
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            return await visitor.next_event(timeout_s=timeout_s)
        finally:
            self._waiting.discard(task)

    async def _answer(self, visitor: Visitor, request: h11.Request) -> None:
        headers = list(request.headers)
        if why := why_refused(request.method, request.target, headers):
            await visitor.show(pages.bad_request(why))
            return
        host = next(value for name, value in headers if name == b"host").decode("latin-1")
        route = self._places.table.find(host, self._settings.apps_domain)
        if route is None:
            await visitor.show(self._known_name(request.target) or pages.no_such_name(host))
            return
        terms = self._terms(visitor, headers, route)
        refusal = await self._why_not(route, terms, headers)
        status = await (
            _shown(visitor, refusal) if refusal else self._in_time(visitor, request, route, terms)
        )
        metrics.ANSWERS.labels(route.project, route.workload_name, f"{status // 100}xx").inc()

    def _known_name(self, target: bytes) -> Page | None:
        """What a proxy in front asks before it gets a certificate for a name (Caddy's `ask`): whether it leads anywhere here."""
        parts = urlsplit(target.decode("latin-1"))
        if parts.path != KNOWN_NAME:
            return None
        (name,) = parse_qs(parts.query).get("domain", [""])[:1]
        found = self._places.table.find(name, self._settings.apps_domain)
        return pages.known_name(name) if found else pages.no_such_name(name)

    async def _why_not(self, route: RouteDocument, terms: Terms, headers: Headers) -> Page | None:
        if route.taken_down:
            return pages.taken_down(route.taken_down)
        return await self._guards.why_not(route, terms.client, headers)

    async def _in_time(
        self, visitor: Visitor, request: h11.Request, route: RouteDocument, terms: Terms
    ) -> int:
        """As `_lead`, within the time that an exchange may take in all.  Raises VisitorGone where they were broken off."""
        try:
            async with asyncio.timeout(terms.total_timeout_s) as total:
                return await self._lead(visitor, request, route, terms)
        except TimeoutError:
            if not total.expired() or terms.total_timeout_s is None:
                raise
        page = pages.took_too_long(route.workload_name, terms.total_timeout_s)
        ended_by(Limit.TOTAL, page.title)
        if visitor.is_answered:
            visitor.break_off()
            raise VisitorGone(page.title)
        return await _shown(visitor, page)

    async def _lead(self, visitor: Visitor, request: h11.Request, route: RouteDocument, terms: Terms) -> int:
        """The status that was answered, by an instance or in its place."""
        exchange, tried, page = Exchange(visitor, terms), frozenset[str](), None
        while True:
            led = await self._places.lead_soon(route, but=tried)
            if isinstance(led, Nowhere):
                return await _shown(
                    visitor, page or pages.not_ready(route.workload_name, led.reason, passing=led.passing)
                )
            try:
                return await self._through(led, exchange, request)
            except Refused as error:  # it has just ended, and the routes do not say so yet
                tried, page = tried | {led.instance_id}, error.page
            except Unanswered as error:
                return await _shown(visitor, error.page)
            except Temporary as error:
                if visitor.would_take_a_part_for_the_whole:
                    visitor.break_off()
                return await _shown(visitor, pages.not_reached(route.workload_name, error.detail))

    async def _through(self, led: Led, exchange: Exchange, request: h11.Request) -> int:
        pipe = TunnelPipe(led.stream)
        self._places.came(led.instance_id)
        try:
            return await exchange.run(request, pipe)
        finally:
            self._places.went(led.instance_id)
            pipe.give_up("the exchange is over")

    def _terms(self, visitor: Visitor, headers: Headers, route: RouteDocument) -> Terms:
        client, scheme = client_of(visitor.peer, visitor.scheme, headers, self._settings.trusted_proxies)
        guard = route.guard or RouteGuard()
        return Terms(
            workload=route.workload_name,
            client=client,
            scheme=scheme,
            is_guarded=bool(guard.credentials),
            most_body_bytes=guard.max_body_bytes,
            answer_timeout_s=self._settings.answer_timeout_s,
            idle_timeout_s=self._settings.idle_timeout_s,
            total_timeout_s=self._settings.total_timeout_s,
        )


async def _shown(visitor: Visitor, page: Page) -> int:
    await visitor.show(page)
    return page.status
