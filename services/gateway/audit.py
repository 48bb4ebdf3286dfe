"""The gateway's own audit rows, and the one list that shows them together with those of other services.

A row is written in the transaction of its change.  Refusals are rows of their own.  The list merges its sources, each newest first; its
page token remembers how far each was read: for another service the token of the page it stopped in and the last row taken from it, because
its pages have their own size and new rows arrive at their head.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lattice.clock import Clock
from lattice.contracts import catalogue
from lattice.contracts.catalogue import Rpc
from lattice.contracts.messages import ListAudit
from lattice.contracts.views import AuditView, Listing
from lattice.errors import Invalid
from lattice.ids import new_id
from lattice.messaging import Bus
from lattice.storage import Store, Transaction
from services.gateway import store as queries
from services.gateway.tables import AuditRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What was done: `user.create`, to whom, and how it looked before and after."""

    action: str
    entity: str
    entity_id: str
    entity_name: str = ""
    project: str | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


class Trail:
    """Writes the gateway's audit rows."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def write(self, tx: Transaction, *, actor: str, request_id: str, act: Act) -> None:
        """Add a row to the transaction of the change."""
        tx.add(
            AuditRow(
                id=new_id("au", clock=self._clock),
                at=self._clock.now(),
                actor=actor,
                request_id=request_id,
                action=act.action,
                entity=act.entity,
                entity_id=act.entity_id,
                entity_name=act.entity_name,
                project=act.project,
                before=None if act.before is None else dict(act.before),
                after=None if act.after is None else dict(act.after),
            )
        )

    async def keep(self, *, actor: str, request_id: str, act: Act) -> None:
        """A row of its own, for an act that changed nothing: a request that the policy refused."""
        async with self._store.transaction() as tx:
            self.write(tx, actor=actor, request_id=request_id, act=act)


class _Place(BaseModel):
    """How far one source was read: the page that we stopped in (ours has none), and the last row taken from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    page: str | None = None
    taken: str | None = None


_START = _Place()
# Who keeps rows besides the gateway, by the letter that stands for them in a page token.
_REMOTE = {"r": catalogue.LIST_AUDIT, "a": catalogue.LIST_ALERT_AUDIT}
_OWN = "g"


class _Cursor(BaseModel):
    """How far a merged list was read, by source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: dict[str, _Place] = {}

    def place(self, source: str) -> _Place:
        return self.places.get(source, _START)

    def after(self, source: str, row: _Row) -> _Cursor:
        return _Cursor(places={**self.places, source: _Place(page=row.page, taken=row.view.id)})

    def text(self) -> str:
        return base64.urlsafe_b64encode(self.model_dump_json().encode()).decode()

    @classmethod
    def read(cls, text: str | None) -> _Cursor:
        if text is None:
            return cls()
        try:
            return cls.model_validate_json(base64.urlsafe_b64decode(text.encode()))
        except (ValidationError, binascii.Error, ValueError) as error:
            raise Invalid(
                "The page token is not one of this list; start again without it.",
                errors=[{"pointer": "/query/page_token", "detail": "not a token of this list"}],
            ) from error


@dataclass(frozen=True, slots=True)
class _Row:
    """A row and where the list stands after it."""

    view: AuditView
    page: str | None = None


async def merged(bus: Bus, store: Store, query: ListAudit) -> Listing[AuditView]:
    """One page of all trails, newest first."""
    cursor = _Cursor.read(query.page_token)
    sources = {name: _remote_rows(bus, rpc, query, cursor.place(name)) for name, rpc in _REMOTE.items()}
    sources[_OWN] = _own_rows(store, query, cursor.place(_OWN))
    heads = {name: await anext(rows, None) for name, rows in sources.items()}
    items: list[AuditView] = []
    while len(items) < query.page_size and (newest := _newest(heads)) is not None:
        name, row = newest
        items.append(row.view)
        cursor = cursor.after(name, row)
        heads[name] = await anext(sources[name], None)
    more = _newest(heads) is not None
    return Listing[AuditView](items=tuple(items), next_page_token=cursor.text() if more else None)


def _newest(heads: Mapping[str, _Row | None]) -> tuple[str, _Row] | None:
    """The source whose next row is the newest, and that row; of the same moment the first source's."""
    waiting = [(name, row) for name, row in heads.items() if row is not None]
    return max(waiting, key=lambda each: each[1].view.at, default=None)


async def _remote_rows(
    bus: Bus, rpc: Rpc[ListAudit, Listing[AuditView]], query: ListAudit, place: _Place
) -> AsyncIterator[_Row]:
    page, taken = place.page, place.taken
    while True:
        listing = await bus.ask(rpc, query.model_copy(update={"page_token": page}))
        rows = listing.items
        ids = [row.id for row in rows]
        if taken is not None:
            # Rows that came since may have pushed it to a later page: then all of this one was seen or is new.
            rows = rows[ids.index(taken) + 1 :] if taken in ids else ()
            taken = None if taken in ids else taken
        for row in rows:
            yield _Row(row, page)
        if listing.next_page_token is None:
            return
        page = listing.next_page_token


async def _own_rows(store: Store, query: ListAudit, place: _Place) -> AsyncIterator[_Row]:
    filters = query.model_dump(include={"project", "actor", "action"}, exclude_none=True)
    before = place.taken
    while True:
        async with store.transaction() as tx:
            rows = await queries.audit(tx, before=before, limit=query.page_size, filters=filters)
        for row in rows:
            yield _Row(AuditView.model_validate(row, from_attributes=True))
        if len(rows) < query.page_size:
            return
        before = rows[-1].id
