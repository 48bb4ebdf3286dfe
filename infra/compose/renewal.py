"""The container that keeps certificates and tickets young: it issues them when it starts and again after two thirds of each life.

Who uses them finds out alone: services read their files at each connect, the gateway and the bus (`bus_server`) look at theirs.  So this
container needs no network at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial

from infra.compose.places import BUS_SERVER, Places
from infra.compose.settings import ComposeSettings
from lattice.clock import Clock, SystemClock
from lattice.errors import NotFound
from lattice.process import Background, Checks
from standalone.credentials import Authorities, ensure_authorities, issue_all
from standalone.data_dir import find_data_dir
from standalone.renewal import keep_renewing


@asynccontextmanager
async def build(settings: ComposeSettings) -> AsyncIterator[Checks]:
    """Issue for every process, and keep doing so while the block runs.  Ready means that all files are there."""
    clock, places = SystemClock(), Places(settings.root)
    issue = partial(_issue, places, settings, _authorities(places, clock))
    issued_at = clock.now()
    await asyncio.to_thread(issue, issued_at)
    renewing = partial(
        keep_renewing, issue, _nobody_waits, issued_at=issued_at, lifetime=settings.lifetime, clock=clock
    )
    async with Background(clock=clock) as background:
        background.start("renewal", renewing)
        yield {}


def _authorities(places: Places, clock: Clock) -> Authorities:
    data_dir = find_data_dir(places.authority)
    if data_dir is None:
        raise NotFound(f"{places.authority} holds no keys: start the service `init` first.")
    return ensure_authorities(data_dir, first_start=False, now=clock.now())


def _issue(places: Places, settings: ComposeSettings, authorities: Authorities, now: datetime) -> None:
    issue_all(
        places.credentials,
        authorities,
        gateway_names=(settings.public_host, "gateway"),
        bus_names=(settings.public_host, BUS_SERVER),
        now=now,
        lifetime=settings.lifetime,
    )


def _nobody_waits() -> None:
    """Everybody looks at their own files."""
