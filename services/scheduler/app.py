"""Builds the scheduler: it waits for its turn to lead, leads, and steps down when somebody else does.

`Scheduler` takes a bus, whichever it is, so that tests run it in memory; `build` makes the real one.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loguru import logger

from lattice.background import Background
from lattice.bus import NatsBus
from lattice.cancelling import first_of
from lattice.clock import Clock, SystemClock
from lattice.contracts.catalogue import FACT, PLACEMENT_WANTED, TRY_PLACEMENTS
from lattice.contracts.messages import SchedulingQuery, TriedPlacements, TryPlacements
from lattice.contracts.streams import SCHED_BY_SCHEDULER
from lattice.errors import Temporary
from lattice.messaging import Bus, Lease
from lattice.own_logs import OwnLogs
from lattice.own_metrics import OwnMetrics
from lattice.process import Checks
from services.scheduler import metrics
from services.scheduler.handlers import Handlers
from services.scheduler.leadership import Leadership
from services.scheduler.rounds import Rounds, SteppedDown
from services.scheduler.settings import SchedulerSettings
from services.scheduler.sight import read_all
from services.scheduler.trial import try_placements
from services.scheduler.turns import Turns

# So many wake-ups are taken from the queue at once, to be answered by one round.
_WAKE_UPS = 64


class Scheduler:
    """One of several; `run` never ends."""

    def __init__(
        self, bus: Bus, *, holder: str, lease_ttl_s: float, sweep_s: float, clock: Clock | None = None
    ) -> None:
        self._bus = bus
        self._sweep_s = sweep_s
        self._leadership = Leadership(bus, clock or SystemClock(), holder, lease_ttl_s)
        self.term: int | None = None

    async def run(self) -> None:
        """Wait for the lease, lead, step down, and again; what would be placed where is answered by whoever is asked."""
        await self._bus.serve(TRY_PLACEMENTS, self._try)
        while True:
            async with self._leadership.held() as lease:
                try:
                    await self._lead(lease)
                except SteppedDown as error:
                    logger.warning("stepping down: {}", error)
                except Temporary as error:
                    logger.warning("cannot lead yet: {}", error)
                finally:
                    self.term = None
                    metrics.LEADING.set(0)
            await asyncio.sleep(self._leadership.pause_s)

    async def _try(self, request: TryPlacements) -> TriedPlacements:
        images = frozenset(
            step.request.image_id for step in request.steps if step.request.image_id is not None
        )
        query = SchedulingQuery(workload_ids=frozenset(), image_ids=images)  # nothing that waits
        _, nodes = await read_all(self._bus, query)
        return try_placements(request, tuple(nodes.values()))

    async def _lead(self, lease: Lease) -> None:
        self.term = await self._leadership.take_term()
        metrics.LEADING.set(1)
        logger.info("leading in term {}", self.term)
        rounds = Rounds(self._bus, self.term)
        turns = Turns(rounds.once, fatal=SteppedDown)
        turns.poke()
        async with self._listening(Handlers(rounds, turns)):
            await first_of(self._leadership.keep(lease), turns.run(), self._sweep(turns))

    @asynccontextmanager
    async def _listening(self, handlers: Handlers) -> AsyncIterator[None]:
        facts = await self._bus.subscribe(FACT, handlers.fact)
        wanted = await self._bus.consume(
            SCHED_BY_SCHEDULER, PLACEMENT_WANTED, handlers.wanted, concurrency=_WAKE_UPS
        )
        try:
            yield
        finally:
            handlers.turns.close()  # first: stopping waits for handlers, and they wait for a round
            await wanted.stop()
            await facts.stop()

    async def _sweep(self, turns: Turns) -> None:
        while True:
            await asyncio.sleep(self._sweep_s)
            turns.poke()


@asynccontextmanager
async def build(settings: SchedulerSettings) -> AsyncIterator[Checks]:
    """The scheduler on NATS."""
    async with NatsBus(settings.bus, identity="scheduler") as bus, Background() as background:
        background.start("own-logs", OwnLogs.of_service("scheduler", bus).run)
        background.start("own-metrics", OwnMetrics("scheduler", bus).run)
        scheduler = Scheduler(
            bus,
            holder=f"{socket.gethostname()}-{os.getpid()}",
            lease_ttl_s=settings.lease_ttl_s,
            sweep_s=settings.sweep_s,
        )
        background.start("scheduler", scheduler.run)
        yield {"bus": bus.ready}
