"""Carries what is committed to the bus: facts in the order of their `seq`, wake-ups for the scheduler, desired documents.

One relay runs per platform (a lock in Postgres says which).  It takes rows that are not yet stamped, whatever their age or id, and stamps
`seq` as it takes them: a transaction that commits late is never skipped.  Everything is published at least once under the row's own id, so a
repeat after a crash is dropped by the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from loguru import logger

from lattice.contracts.catalogue import FACT, PLACEMENT_WANTED
from lattice.contracts.messages import Fact, PlacementWanted
from lattice.errors import LatticeError, Temporary
from lattice.messaging import Bus, Outgoing
from lattice.storage import Not
from services.registry import metrics
from services.registry.change import Deps
from services.registry.documents import Documents
from services.registry.link_publishing import LinkPublisher
from services.registry.routes import RoutePublisher
from services.registry.tables import FactHeadRow, FactRow, WakeUpRow

BATCH = 500
# A wake-up comes with each commit; this is for what another replica committed while our link was down.
LOOK_EVERY_S = 1.0


@dataclass(slots=True)
class Relay:
    """The loop; `wake` makes it look at once."""

    deps: Deps
    bus: Bus
    documents: Documents
    routes: RoutePublisher
    links: LinkPublisher
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _republish: bool = True

    def wake(self) -> None:
        """Something was committed."""
        self._woken.set()

    def republish(self) -> None:
        """The link is new: the bus may have lost what it had."""
        self._republish = True
        self._woken.set()

    async def run(self) -> None:
        """Relay while this process holds the lock; try for it again and again while another does."""
        while True:
            async with self.deps.store.exclusive("relay") as held:
                while held:
                    if not await self._round_or_report():
                        break
            await asyncio.sleep(LOOK_EVERY_S)

    async def _round_or_report(self) -> bool:
        """One round; False when it failed and the lock should be taken anew (its connection may be what failed)."""
        try:
            busy = await self.round()
        except Temporary as error:
            logger.warning("relay: {}; trying again", error.detail)
            return False
        if not busy:
            await self._wait()
        return True

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._woken.wait()
        self._woken.clear()

    async def round(self) -> bool:
        """Relay what there is, at most a batch of each kind; True if there may be more."""
        if self._republish and self.bus.connected:
            await self.documents.publish_all()
            await self.routes.publish_all()
            await self.links.publish_all()
            self._republish = False
        woken = await self._relay_wake_ups()
        # Routes first: nobody is to be led to an instance that is ordered to end.
        routed = await self.routes.publish_new(limit=BATCH)
        linked = await self.links.publish_new(limit=BATCH)
        rendered = await self.documents.render_dirty(limit=BATCH)
        published = await self.documents.publish_new(limit=BATCH)
        stamped = await self._stamp_facts()
        sent = await self._publish_facts()
        return any(count >= BATCH for count in (woken, routed, linked, rendered, published, stamped, sent))

    async def _relay_wake_ups(self) -> int:
        async with self.deps.store.transaction() as tx:
            rows = await tx.find(WakeUpRow, order_by=("created_at", "id"), limit=BATCH)
        for row in rows:
            wanted = PlacementWanted(workload_id=row.workload_id)
            await self.bus.append(PLACEMENT_WANTED, wanted, msg_id=row.id, workload_id=row.workload_id)
        if rows:
            async with self.deps.store.transaction() as tx:
                for row in rows:
                    tx.delete(row)
        return len(rows)

    async def _stamp_facts(self) -> int:
        """Give numbers to new facts; the lock on the head makes them gap-free."""
        async with self.deps.store.transaction() as tx:
            rows = await tx.find(FactRow, seq=None, order_by=("created_at", "id"), limit=BATCH)
            if not rows:
                return 0
            head = await tx.get(FactHeadRow, 1, lock=True)
            if head is None:
                raise LatticeError("the head of the facts is missing; run the migrations")
            for number, row in enumerate(rows, start=head.seq + 1):
                tx.update(row, seq=number)
            tx.update(head, seq=head.seq + len(rows))
        return len(rows)

    async def _publish_facts(self) -> int:
        async with self.deps.store.transaction() as tx:
            rows = await tx.find(FactRow, seq=Not(None), published_at=None, order_by=("seq",), limit=BATCH)
        if rows:
            await self._send(rows)
            await self._mark_published(rows)
            metrics.relayed(rows, self.deps.now())
        return len(rows)

    async def _send(self, rows: Sequence[FactRow]) -> None:
        """In one go; where one of them can never be sent, each by itself, so that it is not in the way of the others."""
        try:
            await self.bus.append_all([_outgoing(row) for row in rows])
        except Temporary:
            raise
        except (LatticeError, ValueError) as error:
            if len(rows) == 1:
                logger.error("fact {} stays in the database, for it cannot be sent: {}", rows[0].id, error)
                return
            for row in rows:
                await self._send([row])

    async def _mark_published(self, rows: Sequence[FactRow]) -> None:
        async with self.deps.store.transaction() as tx:
            for row in rows:
                tx.update(row, published_at=self.deps.now())


def fact_of(row: FactRow) -> Fact:
    """A stamped row as it is sent."""
    return Fact(
        seq=row.seq or 0,
        id=row.id,
        project=row.project,
        entity=row.entity,
        verb=row.verb,
        entity_id=row.entity_id,
        entity_name=row.entity_name,
        workload_id=row.workload_id,
        actor=row.actor,
        operation_id=row.operation_id,
        cause=row.cause,
        at=row.created_at,
        data=row.data,
    )


def _outgoing(row: FactRow) -> Outgoing[Fact]:
    tokens = {"project": row.project, "entity": row.entity, "verb": row.verb}
    return Outgoing(FACT, fact_of(row), msg_id=row.id, tokens=tokens)
