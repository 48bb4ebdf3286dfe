"""A workload's log lines: stored ones as JSON lines, or followed as an event stream."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from lattice.contracts.messages import LogLine
from lattice.contracts.quantities import parse_duration_s
from lattice.errors import Invalid, LatticeError
from services.gateway import sse
from services.gateway.call import Call, CurrentCall, GuardedRoute
from services.gateway.log_lines import time_ns_of
from services.gateway.log_stream import LogQuery, follow, stored
from services.gateway.names import Ref
from services.gateway.routes.workloads import load
from services.gateway.schemas import Flag

router = APIRouter(route_class=GuardedRoute, tags=["workloads"])

NDJSON = "application/x-ndjson"
_TIME_PATTERN = r"^(\d{1,6}[smh]|\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2}))$"
_AGO = re.compile(r"^\d{1,6}[smh]$")
Moment = Annotated[
    str | None, Query(pattern=_TIME_PATTERN, description="RFC 3339, or so long ago: `15m`, `1h`")
]
Grep = Annotated[str | None, Query(min_length=1, max_length=1024, description="lines that contain this text")]
Source = Annotated[
    str | None,
    Query(
        pattern=r"^[a-f0-9]{1,128}$", description="a container's id: only its lines, such as those of one run"
    ),
]
_LINES = {"schema": {"$ref": "#/components/schemas/LogLine"}}


@router.get(
    "/v1/workloads/{id}/logs",
    response_class=Response,
    responses={
        200: {"description": "One JSON object per line", "content": {NDJSON: _LINES, sse.MEDIA_TYPE: _LINES}}
    },
)
async def logs(
    call: CurrentCall,
    ref: Ref,
    since: Moment = None,
    until: Moment = None,
    grep: Grep = None,
    source: Source = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    follow: Flag | None = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "*/*",
) -> Response:
    """The newest lines, oldest first, as JSON lines; with `follow=true`, or where an event stream is asked for, what comes after them too."""
    now = call.gateway.clock.now()
    query = LogQuery(
        workload=await load(call, ref),
        since_ns=moment_ns(since, now, "since"),
        until_ns=moment_ns(until, now, "until"),
        grep=grep,
        source=source,
        limit=limit,
    )
    if follow or (follow is None and sse.MEDIA_TYPE in accept):
        return sse.EventStream(_followed(call, query))
    lines = await stored(call.gateway.bus, query)
    body = "".join(line.model_dump_json() + "\n" for line in lines)
    return Response(body, media_type=NDJSON)


def moment_ns(text: str | None, now: datetime, name: str) -> int | None:
    """Nanoseconds since 1970 of a time or of so long ago; Invalid for a day that does not exist."""
    if text is None:
        return None
    if _AGO.fullmatch(text):
        return time_ns_of(now - timedelta(seconds=parse_duration_s(text)))
    try:
        return time_ns_of(datetime.fromisoformat(_six_digits(text)).astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise Invalid(
            f"?{name}= is not a time: {error}", errors=[{"pointer": f"/query/{name}", "detail": str(error)}]
        ) from error


def _six_digits(text: str) -> str:
    return re.sub(r"\.(\d+)", lambda match: "." + match[1][:6].ljust(6, "0"), text)


async def _followed(call: Call, query: LogQuery) -> AsyncGenerator[bytes, None]:
    gateway = call.gateway
    with gateway.streams.opened(call.me.credential_id) as ended:
        try:
            quiet_s = gateway.settings.stream_keepalive_s
            async with aclosing(follow(gateway.bus, query, ended=ended, quiet_s=quiet_s)) as lines:
                async for line in lines:
                    yield _event(line)
        except LatticeError as error:
            # The answer has begun, so its status can say nothing more.
            yield sse.event(f'{{"code":"{error.code}"}}', name="problem")


def _event(line: LogLine | None) -> bytes:
    return sse.KEEPALIVE if line is None else sse.event(line.model_dump_json(), name="line")
