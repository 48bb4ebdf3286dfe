"""Asks a process on this machine over HTTP whether it is ready.

Every process is asked twenty times a second while it starts, and all through its life: a whole HTTP client would cost ten times as much.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

Check = Callable[[], Awaitable[bool]]


def http_ready(url: str, *, timeout_s: float = 2.0) -> Check:
    """A check that holds while `url`, which is plain HTTP, answers 200."""
    parts = urlsplit(url)
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode()

    async def check() -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                status_line = await _first_line(parts.hostname, parts.port, request)
        except (OSError, ValueError):  # nobody is there, or something else answers
            return False
        return status_line.split()[1:2] == [b"200"]

    return check


async def _first_line(host: str | None, port: int | None, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        return await reader.readline()
    finally:
        writer.close()
