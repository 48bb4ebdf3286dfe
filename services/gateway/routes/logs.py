"""Log lines: stored ones as JSON lines, or followed as an event stream; of one workload, or of a project's."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import Response

from lattice.contracts.messages import PLATFORM, LogLines, QueryLogs
from lattice.errors import FieldError, Invalid, LatticeError, NotFound
from lattice.log_levels import LogLevel
from lattice.log_matching import LineMatcher
from services.gateway import sse
from services.gateway.call import Call, CurrentCall, GuardedRoute
from services.gateway.log_lines import Shown, json_lines, place_token, read_place, time_ns_of
from services.gateway.log_stream import LogReader, follow, stored
from services.gateway.names import Ref
from services.gateway.routes.workloads import load
from services.gateway.schemas import Flag, PageToken

router = APIRouter(route_class=GuardedRoute, tags=["logs"])

NDJSON = "application/x-ndjson"
NEXT_PAGE = "Next-Page-Token"
_TIME_PATTERN = r"^(\d{1,6}[smhd]|\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2}))$"
_AGO = re.compile(r"^\d{1,6}[smhd]$")
_TAKES_ZSTD = re.compile(r"\s*zstd\s*(;\s*q=(?!0(\.0*)?\s*$)[0-9.]+\s*)?", re.IGNORECASE)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_FIELD = re.compile(r"[^=]{1,128}=.{0,512}", re.DOTALL)
_LINES = {"schema": {"$ref": "#/components/schemas/LogLine"}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One JSON object per line, oldest first",
        "content": {NDJSON: _LINES, sse.MEDIA_TYPE: _LINES},
        "headers": {
            NEXT_PAGE: {
                "description": "there may be older lines: give this as `page_token`",
                "schema": {"type": "string"},
            }
        },
    }
}
Moment = Annotated[
    str | None, Query(pattern=_TIME_PATTERN, description="RFC 3339, or so long ago: `15m`, `1h`, `2d`")
]
Name = Annotated[str, Query(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]


async def log_query(
    call: CurrentCall,
    *,
    since: Moment = None,
    until: Moment = None,
    grep: Annotated[
        str | None, Query(min_length=1, max_length=1024, description="lines that contain this text")
    ] = None,
    word: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=1024,
            description="the same, but not as a part of longer words: quick also where it is rare",
        ),
    ] = None,
    regex: Annotated[
        str | None,
        Query(min_length=1, max_length=1024, description="lines in which this RE2 expression is found"),
    ] = None,
    level: Annotated[
        LogLevel | None, Query(description="lines that say that they are at least so grave")
    ] = None,
    stream: Annotated[str | None, Query(pattern=r"^(stdout|stderr)$")] = None,
    instance: Annotated[list[Name] | None, Query(max_length=200, description="instances, by id")] = None,
    node: Annotated[list[Name] | None, Query(max_length=200, description="nodes, by id or name")] = None,
    field: Annotated[
        list[str] | None, Query(max_length=16, description="`name=value` of lines that are JSON objects")
    ] = None,
    source: Annotated[
        str | None,
        Query(
            pattern=r"^[a-f0-9]{1,128}$", description="a container's id: only its lines, as those of one run"
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    page_token: PageToken = None,
    levels: Annotated[Flag, Query(description="say with each line how grave it is")] = False,
) -> QueryLogs:
    """What the parameters ask for, of the call's project."""
    now = call.gateway.clock.now()
    return QueryLogs(
        project=call.project_or_all,
        since_ns=moment_ns(since, now, "since"),
        until_ns=moment_ns(until, now, "until"),
        grep=grep,
        word=word,
        regex=regex,
        level=level,
        stream=stream,
        instance_ids=tuple(instance or ()),
        node_ids=tuple(node or ()),
        fields=dict(_read_field(text) for text in field or ()),
        source=source,
        limit=limit,
        levels=levels,
        before=read_place(page_token) if page_token else None,
    )


@dataclass(frozen=True, slots=True)
class Form:
    """How lines are answered."""

    follows: bool
    packs: bool


async def answer_form(
    *,
    follow: Flag | None = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "*/*",
    accept_encoding: Annotated[str, Header(include_in_schema=False)] = "",
) -> Form:
    """What the client takes: an event stream, or lines, packed where it can unpack them."""
    follows = bool(follow) or (follow is None and sse.MEDIA_TYPE in accept)
    return Form(follows, packs=_takes_zstd(accept_encoding))


def _takes_zstd(accept_encoding: str) -> bool:
    return any(_TAKES_ZSTD.fullmatch(each) for each in accept_encoding.split(","))


Asked = Annotated[QueryLogs, Depends(log_query)]
Wanted = Annotated[Form, Depends(answer_form)]


@router.get("/v1/workloads/{id}/logs", response_class=Response, responses=_ANSWERS)
async def workload_logs(call: CurrentCall, ref: Ref, asked: Asked, form: Wanted) -> Response:
    """The newest lines of a workload, also of one that was removed, oldest first; with `follow=true`, or where an event stream is asked for,
    what comes after them too."""
    try:
        workload = await load(call, ref)
    except NotFound as gone:
        return await _of_removed(call, ref, asked, form, gone)
    reader = LogReader(asked.model_copy(update={"workload_ids": (workload.id,)}), (workload,))
    return await _answer(call, reader, form)


@router.get("/v1/logs", response_class=Response, responses=_ANSWERS)
async def logs(
    call: CurrentCall,
    asked: Asked,
    form: Wanted,
    *,
    workload: Annotated[list[Name] | None, Query(max_length=200, description="by id or name")] = None,
) -> Response:
    """The newest lines of several workloads, or of all of a project, in the order of time."""
    names = tuple(workload or ())
    reader = LogReader(asked.model_copy(update={"workload_ids": names, "workload_names": names}))
    return await _answer(call, reader, form)


@router.get("/v1/platform/logs", response_class=Response, responses=_ANSWERS)
async def platform_logs(
    call: CurrentCall,
    asked: Asked,
    form: Wanted,
    *,
    part: Annotated[
        list[Name] | None,
        Query(max_length=16, description="registry, scheduler, logs, gateway, ingress, agent"),
    ] = None,
) -> Response:
    """What the platform says of itself: its services, and the agents of its nodes."""
    parts = tuple(part or ())
    query = asked.model_copy(update={"project": PLATFORM, "workload_names": parts, "workload_ids": parts})
    return await _answer(call, LogReader(query), form)


async def _of_removed(call: Call, ref: str, asked: QueryLogs, form: Form, gone: NotFound) -> Response:
    """What a workload wrote that is no more; raises `gone` if the store never heard of it."""
    query = asked.model_copy(update={"workload_ids": (ref,), "workload_names": (ref,)})
    if not (await stored(call.gateway.bus, query.model_copy(update={"limit": 1}))).known:
        raise gone
    return await _answer(call, LogReader(query), replace(form, follows=False))


async def _answer(call: Call, reader: LogReader, form: Form) -> Response:
    LineMatcher(reader.query)  # an expression that is none is refused before a stream begins
    if form.follows:
        return sse.EventStream(_followed(call, reader))
    answer = await stored(call.gateway.bus, reader.query)
    return _lines(answer, form)


def _lines(answer: LogLines, form: Form) -> Response:
    """Lines as the log store packed them, if the client can unpack them: that takes a tenth off the time of a thousand."""
    headers = {"Vary": "Accept-Encoding"} | ({NEXT_PAGE: place_token(answer.next)} if answer.next else {})
    if form.packs:
        return Response(answer.packed, media_type=NDJSON, headers=headers | {"Content-Encoding": "zstd"})
    return Response(json_lines(answer), media_type=NDJSON, headers=headers)


def moment_ns(text: str | None, now: datetime, name: str) -> int | None:
    """Nanoseconds since 1970 of a time or of so long ago; Invalid for a day that does not exist."""
    if text is None:
        return None
    try:
        if _AGO.fullmatch(text):
            return time_ns_of(now - timedelta(**{_UNITS[text[-1]]: int(text[:-1])}))
        return time_ns_of(datetime.fromisoformat(_six_digits(text)).astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise Invalid(
            f"?{name}= is not a time: {error}", errors=[{"pointer": f"/query/{name}", "detail": str(error)}]
        ) from error


def _six_digits(text: str) -> str:
    return re.sub(r"\.(\d+)", lambda match: "." + match[1][:6].ljust(6, "0"), text)


def _read_field(text: str) -> tuple[str, str]:
    if not _FIELD.fullmatch(text):
        detail = "write name=value"
        raise Invalid(
            f"?field={text} is no field.", errors=[FieldError(pointer="/query/field", detail=detail)]
        )
    name, _, value = text.partition("=")
    return name, value


async def _followed(call: Call, reader: LogReader) -> AsyncGenerator[bytes, None]:
    gateway = call.gateway
    with gateway.streams.opened(call.me.credential_id) as ended:
        try:
            quiet_s = gateway.settings.stream_keepalive_s
            following = follow(gateway.bus, gateway.clock, reader, ended=ended, quiet_s=quiet_s)
            async with aclosing(following) as lines:
                async for line in lines:
                    yield _event(line)
        except LatticeError as error:
            # The answer has begun, so its status can say nothing more.
            yield sse.event(f'{{"code":"{error.code}"}}', name="problem")


def _event(line: Shown | None) -> bytes:
    return sse.KEEPALIVE if line is None else sse.event(line.json, name="line")
