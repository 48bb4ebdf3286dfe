"""Keeps the services' credentials young: issues them anew before they expire, while everything runs.

Links to the bus notice new files by themselves, the gateway looks for a new certificate, and the NATS server is told by a reload.  The time of
day is looked at often, not slept through: a laptop that was closed for two days renews within a minute.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from datetime import datetime, timedelta

from loguru import logger

from lattice.clock import Clock
from standalone.credentials import renew_at
from standalone.processes import ProcessIdentity, send_signal
from standalone.supervisor import SupervisorStatus

LONGEST_LOOK_S = 60.0
LOOKS_PER_LIFE = 30


async def keep_renewing(
    issue: Callable[[datetime], None],
    renewed: Callable[[], None],
    *,
    issued_at: datetime,
    lifetime: timedelta,
    clock: Clock,
) -> None:
    """Call `issue(now)`, then `renewed`, at two thirds of each life, for ever."""
    look_s = min(LONGEST_LOOK_S, lifetime.total_seconds() / LOOKS_PER_LIFE)
    while True:
        await asyncio.sleep(look_s)
        now = clock.now()
        if now < renew_at(issued_at, lifetime):
            continue
        await asyncio.to_thread(issue, now)
        issued_at = now
        renewed()
        logger.info("the services' credentials were renewed; they hold until {}", now + lifetime)


def reload_nats(status: SupervisorStatus) -> None:
    """Let the NATS server read its certificate again; no connection is dropped."""
    for process in status.processes:
        if process.name == "nats" and process.pid is not None and process.started_ticks is not None:
            send_signal(ProcessIdentity(process.pid, process.started_ticks), signal.SIGHUP)
