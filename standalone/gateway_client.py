"""Asks the gateway of the platform on this machine, as its operator.  What it refuses is raised as the error that it names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from lattice import pki_files
from lattice.errors import LatticeError, Temporary, from_wire
from standalone.announcement import Announcement

TIMEOUT_S = 20.0
PAGE_SIZE = 500


class GatewayClient:
    """REST, as far as the platform's own commands need it; answers are plain JSON."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def get(self, path: str, **query: str | int | bool) -> Any:
        return _content(await self._ask("GET", path, None, query))

    async def post(self, path: str, body: Any = None, **query: str | int | bool) -> Any:
        return _content(await self._ask("POST", path, body, query))

    async def lines(self, path: str, **query: str | int | bool) -> list[Any]:
        """An answer that is one object per line."""
        response = await self._ask("GET", path, None, query)
        return [json.loads(line) for line in response.text.splitlines() if line]

    async def listing(self, path: str, **query: str | int | bool) -> list[Any]:
        """Every page of a list as one."""
        items: list[Any] = []
        page = await self.get(path, **query, page_size=PAGE_SIZE)
        while True:
            items += page["items"]
            if not page.get("next_page_token"):
                return items
            page = await self.get(path, **query, page_size=PAGE_SIZE, page_token=page["next_page_token"])

    async def _ask(
        self, method: str, path: str, body: Any, query: dict[str, str | int | bool]
    ) -> httpx.Response:
        try:
            response = await self._http.request(method, path, json=body, params=query)
        except httpx.HTTPError as error:
            raise Temporary(f"The gateway does not answer: {error or type(error).__name__}") from error
        if not response.is_success:
            raise _refusal(response)
        return response


@asynccontextmanager
async def open_gateway(announcement: Announcement) -> AsyncIterator[GatewayClient]:
    """A client of the platform that was announced; the gateway need not be there yet."""
    headers = {"Authorization": f"Bearer {announcement.token}", "User-Agent": "lattice-standalone"}
    async with httpx.AsyncClient(
        base_url=announcement.url,
        headers=headers,
        verify=pki_files.client_context(announcement.ca),
        timeout=TIMEOUT_S,
        trust_env=False,
    ) as http:
        yield GatewayClient(http)


def _content(response: httpx.Response) -> Any:
    return response.json() if response.content else None


def _refusal(response: httpx.Response) -> LatticeError:
    try:
        problem = response.json()
        return from_wire(
            {
                "code": str(problem["code"]),
                "detail": str(problem.get("detail") or problem["title"]),
                "errors": list(problem.get("errors") or ()),
                "data": {},
            }
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return LatticeError(f"The gateway answered {response.status_code} without an explanation.")
