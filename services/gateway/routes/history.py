"""What happened: facts, as pages or as a stream, and the audit trail."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from lattice.contracts import catalogue
from lattice.contracts.messages import Fact, ListAudit, ListFacts
from lattice.contracts.views import AuditView, Listing
from lattice.errors import Invalid
from services.gateway import sse
from services.gateway.answers import answer
from services.gateway.audit import merged
from services.gateway.call import Call, CurrentCall, GuardedRoute
from services.gateway.fact_feed import visible
from services.gateway.routes.paging import PageOf
from services.gateway.schemas import FactListing, Flag

router = APIRouter(route_class=GuardedRoute, tags=["history"])

MAX_SEQ = 2**53  # as far as every JSON reader counts exactly
Seq = Annotated[int | None, Query(ge=0, le=MAX_SEQ, description="only facts with a greater seq")]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=32)]
Word = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9:_.@-]{1,128}$")]


@router.get(
    "/v1/events",
    response_model=FactListing,
    responses={200: {"content": {sse.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Fact"}}}}},
)
async def events(
    call: CurrentCall,
    after: Seq = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    follow: Flag | None = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "*/*",
    last_event_id: LastEventId = None,
) -> Response:
    """Facts in the order of `seq`: a page, or with `follow=true` a stream that resumes after `Last-Event-ID` without a gap."""
    if follow or (follow is None and sse.MEDIA_TYPE in accept):
        return sse.EventStream(_followed(call, await _start(call, after, last_event_id)))
    request = ListFacts(after=after or 0, limit=limit, project=call.project_or_all)
    page = await call.ask(catalogue.LIST_FACTS, request)
    more = str(page.facts[-1].seq) if len(page.facts) == limit else None
    return answer(FactListing(items=page.facts, next_page_token=more, head=page.head))


async def _start(call: Call, after: int | None, last_event_id: str | None) -> int:
    """Where a stream begins: after what the client saw last, else after `after`, else now."""
    if last_event_id:
        if not last_event_id.isdecimal() or not last_event_id.isascii() or int(last_event_id) > MAX_SEQ:
            raise Invalid(
                "Last-Event-ID is not a seq of this stream.",
                errors=[{"pointer": "/header/Last-Event-ID", "detail": "give the id of the last event"}],
            )
        return int(last_event_id)
    return await call.gateway.facts.head() if after is None else after


async def _followed(call: Call, after: int) -> AsyncGenerator[bytes, None]:
    gateway, shown = call.gateway, visible(call.project_or_all)
    with gateway.streams.opened(call.me.credential_id) as ended:
        async with aclosing(gateway.facts.follow(after, ended=ended)) as facts:
            async for fact in facts:
                if fact is None:
                    yield sse.KEEPALIVE
                elif shown(fact):
                    yield _event(fact)


def _event(fact: Fact) -> bytes:
    return sse.event(fact.model_dump_json(), name=f"{fact.entity}.{fact.verb}", id_=str(fact.seq))


@router.get("/v1/audit", response_model=Listing[AuditView])
async def audit(call: CurrentCall, page: PageOf, actor: Word = None, action: Word = None) -> Response:
    """Who did what, newest first: the platform's rows and the gateway's in one list."""
    query = ListAudit(**dict(page), project=call.project_or_all, actor=actor, action=action)
    return answer(await merged(call.gateway.bus, call.gateway.store, query))
