"""The small HTTP server of every process: `/healthz` says that it lives, `/readyz` whether it can work, `/metrics` how it fares.

It answers from the first moment on, also while the process waits for NATS or Postgres: alive and not ready are different things, and only
the first is a reason to restart a process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from loguru import logger

from lattice.metrics import every_process as metrics
from lattice.metrics import exposition, instruments

Check = Callable[[], Awaitable[str]]
"""Says in plain words what is missing, or "" when nothing is."""

Checks = Mapping[str, Check]

CHECK_TIMEOUT_S = 2.0
_REQUEST_TIMEOUT_S = 5.0
_LARGEST_REQUEST = 8192


@dataclass
class Readiness:
    """Whether the process can work: `stage` while it starts or ends, else what its checks say."""

    stage: str = "starting"
    checks: Checks = field(default_factory=dict)

    async def problems(self) -> dict[str, str]:
        """What is missing, by check; empty when the process is ready."""
        if self.stage:
            return {"process": self.stage}
        said = await asyncio.gather(*(_ask(check) for check in self.checks.values()))
        return {name: problem for name, problem in zip(self.checks, said, strict=True) if problem}


async def _ask(check: Check) -> str:
    try:
        return await asyncio.wait_for(check(), CHECK_TIMEOUT_S)
    except TimeoutError:
        return f"no answer in {CHECK_TIMEOUT_S:g} s"
    except Exception as error:
        return str(error) or type(error).__name__


@dataclass(frozen=True, slots=True)
class _Answer:
    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"


class HealthServer:
    """Serves `/healthz`, `/readyz` and `/metrics` until it is closed."""

    def __init__(self, service: str, readiness: Readiness) -> None:
        self._service = service
        self._readiness = readiness
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was chosen when `port` is 0.  Raises OSError when the address is taken."""
        self._server = await asyncio.start_server(self._connection, host, port, limit=_LARGEST_REQUEST)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                await self._answer(reader, writer)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            logger.debug("a health request broke off")
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, *_ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        answer = await self._answer_to(method, target.partition("?")[0])
        writer.write(_as_http(answer, with_body=method != "HEAD"))
        await writer.drain()

    async def _answer_to(self, method: str, path: str) -> _Answer:
        if method not in ("GET", "HEAD"):
            return _json(HTTPStatus.METHOD_NOT_ALLOWED, {"detail": "only GET and HEAD"})
        match path:
            case "/healthz":
                return _json(HTTPStatus.OK, {"status": "alive", "service": self._service})
            case "/readyz":
                return await self._ready()
            case "/metrics":
                return _Answer(HTTPStatus.OK, instruments.render(), exposition.CONTENT_TYPE)
        return _json(HTTPStatus.NOT_FOUND, {"detail": "there are /healthz, /readyz and /metrics"})

    async def _ready(self) -> _Answer:
        problems = await self._readiness.problems()
        metrics.READY.set(not problems)
        checks = {name: problems.get(name, "ok") for name in self._readiness.checks} | problems
        status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        body = {
            "status": "not ready" if problems else "ready",
            "service": self._service,
            "checks": checks,
        }
        return _json(status, body)


def _json(status: HTTPStatus, body: Mapping[str, object]) -> _Answer:
    return _Answer(status, json.dumps(body).encode())


def _as_http(answer: _Answer, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (answer.body if with_body else b"")
