"""Lines as they come, over the socket that Grafana opens for a live view."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import orjson
from fastapi import APIRouter, WebSocket

from lattice.cancelling import cancel_and_wait
from lattice.contracts.messages import QueryLogs
from lattice.errors import Invalid, LatticeError
from lattice.log_matching import LineMatcher
from services.gateway import loki_answers, sockets
from services.gateway.call import Call
from services.gateway.log_lines import time_ns_of
from services.gateway.log_stream import LogReader, follow
from services.gateway.logql import LogSearch, parse_search
from services.gateway.loki_query import as_query
from services.gateway.loki_times import time_ns

router = APIRouter()

_PATH = "/v1/loki/api/v1/tail"
_HOUR_NS = 3600 * 10**9
_MOST_LINES = 5_000
_USUAL_LINES = 100


@router.websocket(_PATH)
async def tail(socket: WebSocket) -> None:
    """Stored lines, then those that come."""
    try:
        call = await sockets.admitted(socket, _PATH, query=frozenset(socket.query_params))
        search = parse_search(socket.query_params.get("query", ""))
        query = _query(call, search, socket)
        LineMatcher(query)  # an expression that is none is refused before the socket opens
    except LatticeError as error:
        await sockets.deny(socket, error)
        return
    async with sockets.opened(socket, ""):
        await _send(call, socket, search, LogReader(query))


def _query(call: Call, search: LogSearch, socket: WebSocket) -> QueryLogs:
    given = socket.query_params
    start = given.get("start")
    since_ns = time_ns(start, "start") if start else time_ns_of(call.gateway.clock.now()) - _HOUR_NS
    limit = given.get("limit", str(_USUAL_LINES))
    if not limit.isdecimal() or not 1 <= int(limit[:6]) <= _MOST_LINES:
        raise Invalid(f"limit is a number from 1 to {_MOST_LINES}.")
    return as_query(search, call.project_or_all, since_ns=since_ns, until_ns=None, limit=int(limit[:6]))


async def _send(call: Call, socket: WebSocket, search: LogSearch, reader: LogReader) -> None:
    gateway = call.gateway
    with gateway.streams.opened(call.me.credential_id) as ended:
        following = follow(
            gateway.bus, gateway.clock, reader, ended=ended, quiet_s=gateway.settings.stream_keepalive_s
        )
        async with _ends_with(socket, ended), aclosing(following) as lines:
            async for line in lines:
                if line is not None:
                    found = loki_answers.grouped([orjson.loads(line.json)], search)
                    await socket.send_text(orjson.dumps({"streams": found}).decode())


@asynccontextmanager
async def _ends_with(socket: WebSocket, ended: asyncio.Event) -> AsyncIterator[None]:
    """Set the event when the client goes away; whatever it says besides means nothing."""

    async def wait() -> None:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
        ended.set()

    waiting = asyncio.create_task(wait())
    try:
        yield
    finally:
        await cancel_and_wait((waiting,))
