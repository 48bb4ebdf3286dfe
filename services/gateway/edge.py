"""The outermost layer of every request, as plain ASGI: its id, the security headers, the limit of its body, the last net for
faults, a log line, a metric.

It never touches what is answered, so streams pass through as they come.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from loguru import logger
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lattice.clock import Clock
from lattice.errors import LatticeError
from lattice.process_log import log_context
from services.gateway import problems
from services.gateway.body_limit import limited
from services.gateway.metrics import REQUEST_SECONDS

_REQUEST_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def security_headers(public_url: str) -> dict[str, str]:
    """The headers of every answer.  HSTS only for a real host name: for localhost it would bind all else on this machine to https."""
    host = urlsplit(public_url).hostname or "localhost"
    if host == "localhost" or _is_address(host):
        return _HEADERS
    return {**_HEADERS, "Strict-Transport-Security": "max-age=31536000"}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Edge:
    """Wraps the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        clock: Clock,
        new_id: Callable[[], str],
        headers: dict[str, str],
        max_body_bytes: int,
    ) -> None:
        self._app = app
        self._clock = clock
        self._new_id = new_id
        self._headers = headers
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = self._request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        with log_context(request_id=request_id):
            await self._serve(scope, receive, send, request_id)

    def _request_id(self, scope: Scope) -> str:
        given = Headers(scope=scope).get("x-request-id", "")
        return given if _REQUEST_ID.fullmatch(given) else self._new_id()

    async def _serve(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        began_s, status = self._clock.monotonic_s(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                self._add_headers(message, request_id)
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self._app(scope, self._limited(scope, receive), send_with_headers)
        except ClientDisconnect:
            logger.debug("the client went away")
        except Exception:
            logger.exception("a fault in {} {}", scope.get("method", "WS"), scope["path"])
            if status == 0 and scope["type"] == "http":
                fault = problems.answer_for(LatticeError(), path=scope["path"], request_id=request_id)
                await fault(scope, receive, send_with_headers)
        finally:
            self._note(scope, status, self._clock.monotonic_s() - began_s)

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        return limited(scope, receive, max_bytes=self._max_body_bytes) if scope["type"] == "http" else receive

    def _add_headers(self, message: Message, request_id: str) -> None:
        headers = MutableHeaders(scope=message)
        headers["X-Request-Id"] = request_id
        for name, value in self._headers.items():
            headers.setdefault(name, value)

    def _note(self, scope: Scope, status: int, took_s: float) -> None:
        method, path = scope.get("method", "WS"), _template(scope)
        REQUEST_SECONDS.labels(method, path, str(status)).observe(took_s)
        if scope["path"] not in _QUIET:
            # The path without its query: what people put there is not ours to keep.
            logger.info("{} {} {} {:.1f} ms {}", method, scope["path"], status, took_s * 1000, _actor(scope))


def _template(scope: Scope) -> str:
    route: Any = scope.get("route")
    return getattr(route, "path", "unknown")


def _actor(scope: Scope) -> str:
    call = scope["state"].get("call")
    return call.caller.actor if call is not None else "-"
