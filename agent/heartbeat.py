"""Every 5 s, and on each new link: alive, how busy, and whether the Engine can be used.  Depends on nothing that can hang."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from lattice.contracts.catalogue import HEARTBEAT
from lattice.contracts.messages import Heartbeat
from lattice.errors import LatticeError
from lattice.messaging import Bus

EVERY_S = 5.0


async def beat(bus: Bus, compose: Callable[[], Heartbeat], *, every_s: float = EVERY_S) -> None:
    """Send heartbeats, for ever; one that cannot be sent is left out, since the next one says more."""
    while True:
        await tell(bus, compose())
        await asyncio.sleep(every_s)


async def tell(bus: Bus, heartbeat: Heartbeat) -> None:
    """Send one."""
    with suppress(LatticeError):
        await bus.publish(HEARTBEAT, heartbeat, node_id=heartbeat.node_id)
