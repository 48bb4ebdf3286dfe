"""Speaks with the other sides: message services through Apprise, an Alertmanager, whoever watches the watcher.

Each answers with what went wrong in plain words, or "" where it went well; nothing here is tried twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import httpx

_TIMEOUT_S = 15.0
_MESSAGE_TIMEOUT_S = 40.0
_MOST_SAID = 300
_OK = range(200, 300)


class Sender(Protocol):
    """What sinks need of the world; tests hand over one that only writes down."""

    async def message(self, url: str, title: str, body: str) -> str: ...
    async def alertmanager(self, url: str, alerts: Sequence[dict[str, Any]]) -> str: ...
    async def heartbeat(self, url: str) -> str: ...


class RealSender:
    """Over the network."""

    async def message(self, url: str, title: str, body: str) -> str:
        """A text for people, by an address of Apprise."""
        try:
            return await asyncio.wait_for(asyncio.to_thread(_notify, url, title, body), _MESSAGE_TIMEOUT_S)
        except TimeoutError:
            return f"it took longer than {_MESSAGE_TIMEOUT_S:.0f} s"

    async def alertmanager(self, url: str, alerts: Sequence[dict[str, Any]]) -> str:
        """All that is so now, by Alertmanager's API (v2)."""
        address = f"{url.rstrip('/')}/api/v2/alerts"
        return await _said(lambda client: client.post(address, json=list(alerts)))

    async def heartbeat(self, url: str) -> str:
        """A sign of life."""
        return await _said(lambda client: client.get(url))


async def _said(ask: Callable[[httpx.AsyncClient], Any]) -> str:
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            answer = await ask(client)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return _short(f"{type(error).__name__}: {error}")
    return "" if answer.status_code in _OK else _short(f"it answered {answer.status_code}: {answer.text}")


def _notify(url: str, title: str, body: str) -> str:
    """Apprise takes a tenth of a second to import, and few processes need it.  Why it failed it tells its log only."""
    import apprise
    from apprise.logger import LogCapture

    asset = apprise.AppriseAsset(async_mode=False, app_id="Lattice", app_desc="Lattice", plugin_paths=[])
    sender = apprise.Apprise(asset=asset)
    with LogCapture(level=logging.WARNING, fmt="%(message)s") as said:  # type: ignore[no-untyped-call]
        if not sender.add(url):
            return "Apprise cannot read this address"
        if sender.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT):
            return ""
        return _short(" ".join(said.getvalue().split()) or "it was not taken, and nobody said why")


def _short(text: str) -> str:
    return " ".join(text.split())[:_MOST_SAID]
