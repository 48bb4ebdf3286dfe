"""What a service of the platform counts, on its way to the service that gathers metrics: the newest values, every 15 s.

Nothing waits for it and nothing is kept: a message that is lost is followed by one that says more.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from lattice.clock import Clock, SystemClock
from lattice.contracts.catalogue import SERVICE_METRICS
from lattice.contracts.messages import ServiceMetrics
from lattice.errors import LatticeError
from lattice.messaging import Bus
from lattice.metrics import instruments
from lattice.metrics.readings import tables_of

EVERY_S = 15.0
# The link may not stand yet when a process begins, and people look soon after.
_FIRST_S = 1.0


class OwnMetrics:
    """Tells what this process counts; `run` is its loop."""

    def __init__(self, service: str, bus: Bus, clock: Clock | None = None) -> None:
        self._service, self._bus, self._clock = service, bus, clock or SystemClock()

    async def run(self) -> None:
        """Tell for ever."""
        await asyncio.sleep(_FIRST_S)
        while True:
            with suppress(LatticeError):
                await self.tell()
            await asyncio.sleep(EVERY_S)

    async def tell(self) -> None:
        """Tell once.  Raises Temporary without a link."""
        tables = tables_of(instruments.readings())
        message = ServiceMetrics(service=self._service, taken_at=self._clock.now(), tables=tables)
        await self._bus.publish(SERVICE_METRICS, message, service=self._service)
