"""The gateway's own audit rows, and the one list that shows them together with the registry's.

A row is written in the transaction of its change.  Refusals are rows of their own.  The list merges two sources, each newest first; its
page token remembers how far each was read: for the registry the token of the page it stopped in and the last row taken from it, because
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


class _Cursor(BaseModel):
    """How far a merged list was read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    page: str | None = None  # the registry's page that we stopped in
    taken: str | None = None  # the last row taken from it
    own: str | None = None  # the last row taken from ours

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
    """One page of both trails, newest first."""
    cursor = _Cursor.read(query.page_token)
    theirs, ours = _registry_rows(bus, query, cursor), _own_rows(store, query, cursor)
    their_row, our_row = await anext(theirs, None), await anext(ours, None)
    items: list[AuditView] = []
    while len(items) < query.page_size and (their_row or our_row):
        if our_row is None or (their_row is not None and their_row.view.at >= our_row.view.at):
            assert their_row is not None
            items.append(their_row.view)
            cursor = cursor.model_copy(update={"page": their_row.page, "taken": their_row.view.id})
            their_row = await anext(theirs, None)
        else:
            items.append(our_row.view)
            cursor = cursor.model_copy(update={"own": our_row.view.id})
            our_row = await anext(ours, None)
    more = their_row is not None or our_row is not None
    return Listing[AuditView](items=tuple(items), next_page_token=cursor.text() if more else None)


async def _registry_rows(bus: Bus, query: ListAudit, cursor: _Cursor) -> AsyncIterator[_Row]:
    page, taken = cursor.page, cursor.taken
    while True:
        listing = await bus.ask(catalogue.LIST_AUDIT, query.model_copy(update={"page_token": page}))
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


async def _own_rows(store: Store, query: ListAudit, cursor: _Cursor) -> AsyncIterator[_Row]:
    filters = query.model_dump(include={"project", "actor", "action"}, exclude_none=True)
    before = cursor.own
    while True:
        async with store.transaction() as tx:
            rows = await queries.audit(tx, before=before, limit=query.page_size, filters=filters)
        for row in rows:
            yield _Row(AuditView.model_validate(row, from_attributes=True))
        if len(rows) < query.page_size:
            return
        before = rows[-1].id
