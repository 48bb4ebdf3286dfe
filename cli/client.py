"""Speaks REST with a gateway: authentication, retries, pages, streams, and problems turned into errors that people understand.

Answers stay plain dicts.  The shapes are those of `lattice.contracts.views`, but a CLI may be older than the platform it talks to: it prints
what it was told, and a state that it has never heard of is no reason to fail.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from cli import tls
from cli.context import Endpoint
from cli.errors import CliError, Unreachable, from_problem, not_the_platform
from cli.streams import ServerEvent, byte_lines, server_events

Json = dict[str, Any]
QueryValue = str | int | bool | list[str] | None
Query = Mapping[str, QueryValue]

ATTEMPTS = 3
_PAUSE_MAX_S = 5.0
_PAGE_SIZE = 500
_STREAM_SILENCE_S = 60.0  # a stream that says nothing for so long is opened anew: the connection may be dead
# All others carry an Idempotency-Key: one that nobody answered can be repeated, and the platform does it once.
_SAFE = ("GET", "HEAD", "OPTIONS")


def pause_s(attempt: int, retry_after: str | None) -> float:
    """How long to wait before the next attempt: what the platform asks for, else 0.2 s, 0.4 s, …"""
    asked = float(retry_after) if retry_after and retry_after.isdigit() else 0.2 * 2**attempt
    return min(asked, _PAUSE_MAX_S)


class Lines:
    """The lines of an answer that is being read, and its headers."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.headers: Mapping[str, str] = response.headers

    def __iter__(self) -> Iterator[bytes]:
        return byte_lines(self._response.iter_bytes())


class Client:
    """One platform, as one user."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = 30.0) -> None:
        self.endpoint = endpoint
        self.ssl = self._context(endpoint)
        self._http = httpx.Client(
            base_url=endpoint.url, verify=self.ssl, timeout=timeout_s, headers=self.headers()
        )

    @staticmethod
    def _context(endpoint: Endpoint) -> Any:
        try:
            return tls.verifying_context(endpoint.ca_pem)
        except ValueError as error:
            raise CliError(
                f"Cannot trust {endpoint.url}.", why=str(error), todo="`lattice login` again"
            ) from error

    def headers(self) -> dict[str, str]:
        """What identifies this client and its user."""
        headers = {"User-Agent": "lattice-cli", "Accept": "application/json"}
        if self.endpoint.token:
            headers["Authorization"] = f"Bearer {self.endpoint.token}"
        return headers

    def get(self, path: str, **query: str | int | bool | None) -> Any:
        return _json(self.send("GET", path, query=query), self.endpoint.url)

    def post(self, path: str, body: Any = None, **query: str | int | bool | None) -> Any:
        return _json(self.send("POST", path, body=body, query=query), self.endpoint.url)

    def put(
        self, path: str, body: Any, *, if_match: str | None = None, **query: str | int | bool | None
    ) -> Any:
        sent = self.send("PUT", path, body=body, query=query, headers=_condition(if_match))
        return _json(sent, self.endpoint.url)

    def patch(self, path: str, body: Any, *, if_match: str | None = None) -> Any:
        return _json(self.send("PATCH", path, body=body, headers=_condition(if_match)), self.endpoint.url)

    def delete(self, path: str, **query: str | int | bool | None) -> Any:
        return _json(self.send("DELETE", path, query=query), self.endpoint.url)

    def listing(self, path: str, **query: str | int | bool | None) -> Json:
        """Every page of a list as one."""
        items: list[Json] = []
        token: str | None = None
        while True:
            page = self.get(path, **query, page_size=_PAGE_SIZE, page_token=token)
            items += page["items"]
            token = page.get("next_page_token")
            if not token:
                return {"items": items, "next_page_token": None}

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """One request, repeated where that is safe; raises `Unreachable` or `Refused`."""
        response = self.exchange(method, path, body=body, query=query, headers=headers)
        if response.is_success:
            return response
        raise refusal(response, self.endpoint.url)

    def exchange(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """As `send`, but a problem is an answer like any other."""
        key = {} if method in _SAFE else {"Idempotency-Key": str(uuid.uuid4())}
        request = self._http.build_request(
            method, path, json=body, params=_given(query) or None, headers={**key, **(headers or {})}
        )
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                response = self._http.send(request)
            except httpx.TransportError as error:
                if last or not _may_repeat(error):
                    raise unreachable(self.endpoint.url, error) from error
                time.sleep(pause_s(attempt, None))
                continue
            if last or response.status_code not in (429, 503):
                return response
            time.sleep(pause_s(attempt, response.headers.get("Retry-After")))
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _stream(self, path: str, query: Query, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        timeout = httpx.Timeout(30.0, read=_STREAM_SILENCE_S)
        try:
            with self._http.stream(
                "GET", path, params=_given(query) or None, headers=headers, timeout=timeout
            ) as response:
                if not response.is_success:
                    response.read()
                    raise refusal(response, self.endpoint.url)
                yield response
        except httpx.TransportError as error:
            raise unreachable(self.endpoint.url, error) from error

    @contextmanager
    def lines(self, path: str, **query: QueryValue) -> Iterator[Lines]:
        """The lines of an NDJSON answer, while the block lasts."""
        with self._stream(path, query, {"Accept": "application/x-ndjson"}) as response:
            yield Lines(response)

    def events(self, path: str, *, last_id: str = "", **query: QueryValue) -> Iterator[ServerEvent]:
        """Server-sent events until the stream breaks (`Unreachable`) or the platform ends it."""
        resume = {"Last-Event-ID": last_id} if last_id else {}
        with self._stream(path, query, {"Accept": "text/event-stream", **resume}) as response:
            yield from server_events(response.iter_bytes())


# httpx takes an empty mapping as "no query" and would drop the one in the path.
def _condition(if_match: str | None) -> dict[str, str]:
    return {"If-Match": if_match} if if_match else {}


def _given(query: Query | None) -> dict[str, str | list[str]]:
    return {key: _query_text(value) for key, value in (query or {}).items() if value is not None}


def _query_text(value: QueryValue) -> str | list[str]:
    if isinstance(value, list):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _json(response: httpx.Response, url: str) -> Any:
    if not response.content:
        return None
    try:
        return response.json()
    except ValueError as error:
        raise not_the_platform(response.status_code, url=url) from error


def refusal(response: httpx.Response, url: str) -> CliError:
    """The error that a response of 300 and more means."""
    return problem_error(response.status_code, response.content, url=url)


def problem_error(status: int, body: bytes, *, url: str) -> CliError:
    """The error that a status and a problem document mean."""
    import json

    try:
        problem = json.loads(body)
    except ValueError:
        problem = {}
    return from_problem(status, problem if isinstance(problem, dict) else {}, url=url)


def _may_repeat(error: httpx.TransportError) -> bool:
    """Not where it is hopeless, and not where the person has waited long enough already."""
    hopeless = isinstance(error, (httpx.ReadTimeout, httpx.UnsupportedProtocol))
    return not hopeless and "CERTIFICATE_VERIFY_FAILED" not in str(error)


def unreachable(url: str, error: Exception) -> CliError:
    """Nobody answered at `url`, or nobody whom we trust."""
    reason = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return CliError(
            f"The certificate of {url} is not trusted.",
            why=reason.split("] ")[-1],
            todo=f"`lattice login {url}` shows its CA and asks you, or name the CA file in LATTICE_CA",
        )
    return Unreachable(
        f"Cannot reach the platform at {url}.",
        why=reason,
        todo="check the address (`lattice ctx ls`) and that the platform runs (`lattice status` on its machine)",
    )
