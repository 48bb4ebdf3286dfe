"""Leading: of several schedulers one holds the lease, and only the newest term counts.

The lease in NATS chooses who asks for a term; the term, which Postgres counts, is what protects: every commit carries it, so a leader that
was paused and wakes up late is refused, whatever it believes of its lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from loguru import logger

from lattice.clock import Clock
from lattice.contracts.catalogue import TAKE_TERM
from lattice.contracts.messages import TakeTerm
from lattice.errors import Temporary
from lattice.messaging import Bus, Lease
from services.scheduler.rounds import SteppedDown

ROLE = "scheduler"
# Renewed so often within its time, so that one lost answer does not end a term.
_RENEWALS = 3


@dataclass(frozen=True, slots=True)
class Leadership:
    """How this process comes to lead."""

    bus: Bus
    clock: Clock
    holder: str
    ttl_s: float

    @property
    def pause_s(self) -> float:
        """How long to wait before trying or renewing again."""
        return self.ttl_s / _RENEWALS

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Lease]:
        """Wait until the lease is ours; give it up at the end, so that a standby need not wait for its time to pass."""
        lease = await self._acquire()
        try:
            yield lease
        finally:
            try:
                await lease.release()
            except Temporary as error:
                logger.info("the lease ends by itself: {}", error)

    async def take_term(self) -> int:
        """A term of our own: every older one is over."""
        return (await self.bus.ask(TAKE_TERM, TakeTerm(leader=self.holder))).term

    async def keep(self, lease: Lease) -> None:
        """Renew for ever; SteppedDown when the lease is lost, or could not be renewed for all of its time."""
        renewed_s = self.clock.monotonic_s()
        while True:
            await asyncio.sleep(self.pause_s)
            try:
                if not await lease.renew():
                    raise SteppedDown("another scheduler has the lease")
                renewed_s = self.clock.monotonic_s()
            except Temporary as error:
                if self.clock.monotonic_s() - renewed_s > self.ttl_s:
                    raise SteppedDown(f"the lease could not be renewed: {error}") from error

    async def _acquire(self) -> Lease:
        while True:
            try:
                lease = await self.bus.lease(ROLE, self.holder, ttl_s=self.ttl_s)
            except Temporary:
                lease = None
            if lease is not None:
                return lease
            await asyncio.sleep(self.pause_s)
