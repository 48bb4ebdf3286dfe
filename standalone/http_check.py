"""Asks a process on this machine over HTTP whether it is ready."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import httpx

Check = Callable[[], Awaitable[bool]]


def http_ready(url: str, *, context: ssl.SSLContext | None = None, timeout_s: float = 2.0) -> Check:
    """A check that holds while `url` answers 200.  An https address needs the context that trusts its CA."""
    # Without a context nothing is trusted; building httpx's default one took 20 ms at each call.
    trusted = context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async def check() -> bool:
        try:
            async with httpx.AsyncClient(verify=trusted, timeout=timeout_s, trust_env=False) as client:
                return (await client.get(url)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    return check
