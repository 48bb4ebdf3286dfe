"""Sends batches away: over HTTP, to a syslog server, into a bucket.  Each answers only when the other side has them, as far as it says so."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol
from urllib.parse import urlsplit

import httpx
from obstore.exceptions import BaseError
from obstore.store import S3Store
from pydantic import SecretStr

from lattice.errors import Invalid, Temporary
from services.logs.exporting import json_lines, loki, otlp, s3, syslog
from services.logs.exporting.batches import Exported
from services.logs.exporting.sinks import Kind, Sink

LONGEST_S = 30.0
# Sending the same again would end the same: too old, too long, not understood.
_NEVER = frozenset([400, 413, 415, 422])
_MOST_SAID = 200

Shape = Callable[[Iterable[Exported]], bytes]


class Sender(Protocol):
    """Raises Temporary where it may work later, Invalid where it never will."""

    async def send(self, lines: list[Exported]) -> None: ...

    async def close(self) -> None: ...


def sender_for(sink: Sink) -> Sender:
    """What speaks to a sink; connects to nothing yet."""
    if sink.kind is Kind.SYSLOG:
        return SyslogSender(sink)
    if sink.kind is Kind.S3:
        return ObjectSender(sink)
    return HttpSender(sink)


class HttpSender:
    """For Loki, OTLP and webhooks."""

    def __init__(self, sink: Sink) -> None:
        self._url, (self._shape, media_type) = sink.url, _SHAPES[sink.kind]
        headers = {"Content-Type": media_type, "Content-Encoding": "gzip", "User-Agent": "lattice"}
        self._client = httpx.AsyncClient(
            headers={**headers, **sink.plain_headers()}, timeout=LONGEST_S, verify=_tls(sink), trust_env=False
        )

    async def send(self, lines: list[Exported]) -> None:
        body = await asyncio.to_thread(lambda: gzip.compress(self._shape(lines), 1))
        try:
            answer = await self._client.post(self._url, content=body)
        except httpx.HTTPError as error:
            raise Temporary(f"{type(error).__name__}: {error}") from error
        _check(answer)

    async def close(self) -> None:
        await self._client.aclose()


class SyslogSender:
    """One connection, opened when it is needed.  Syslog has no receipts: what is on its way when a connection breaks may be lost."""

    def __init__(self, sink: Sink) -> None:
        parts = urlsplit(sink.url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._tls = _tls(sink) if parts.scheme == "tls" else None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, lines: list[Exported]) -> None:
        body = await asyncio.to_thread(syslog.payload, lines)
        try:
            async with asyncio.timeout(LONGEST_S):
                writer = await self._connected()
                writer.write(body)
                await writer.drain()
        except (OSError, TimeoutError) as error:
            await self.close()
            raise Temporary(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        if self._streams is None:
            return
        writer, self._streams = self._streams[1], None
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await writer.wait_closed()

    async def _connected(self) -> asyncio.StreamWriter:
        await asyncio.sleep(0)  # hear of an end that has come meanwhile
        if self._streams is not None and self._streams[0].at_eof():
            await self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        return self._streams[1]


class ObjectSender:
    """For S3 and what speaks like it."""

    def __init__(self, sink: Sink) -> None:
        parts = urlsplit(sink.url)
        self._store = S3Store(
            parts.hostname or "",
            prefix=parts.path.strip("/") or None,
            endpoint=sink.s3_endpoint,
            region=sink.s3_region,
            access_key_id=_shown(sink.s3_access_key_id),
            secret_access_key=_shown(sink.s3_secret_access_key),
            client_options={"allow_http": (sink.s3_endpoint or "").startswith("http://")},
        )

    async def send(self, lines: list[Exported]) -> None:
        for item in await asyncio.to_thread(s3.objects, lines):
            try:
                await self._store.put_async(item.key, item.content)
            except (BaseError, OSError) as error:
                raise Temporary(f"the bucket took no object: {type(error).__name__}") from error

    async def close(self) -> None:
        return None


_SHAPES: dict[Kind, tuple[Shape, str]] = {
    Kind.LOKI: (loki.payload, "application/json"),
    Kind.OTLP: (otlp.payload, "application/json"),
    Kind.WEBHOOK: (json_lines.payload, "application/x-ndjson"),
}


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    said = f"the answer was {answer.status_code}: {answer.text[:_MOST_SAID]}"
    raise Invalid(said) if answer.status_code in _NEVER else Temporary(said)


def _tls(sink: Sink) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=sink.ca_file)


def _shown(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
