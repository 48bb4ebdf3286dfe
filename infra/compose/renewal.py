"""The container that keeps certificates and tickets young: it issues them when it starts and again after two thirds of each life.

Who uses them finds out alone: services read their files at each connect, the gateway and the bus (`watched`) look at theirs.  So this
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
from infra.compose.starting import kept_data_dir
from lattice.clock import SystemClock
from lattice.process import Background, Checks, run
from standalone.credentials import Authorities, CredentialFiles, ensure_authorities, issue_all
from standalone.renewal import keep_renewing


def renew(settings: ComposeSettings) -> int:
    """Run until told to end; the exit status."""
    return run("renewer", settings, build)


@asynccontextmanager
async def build(settings: ComposeSettings) -> AsyncIterator[Checks]:
    """Issue for every process, and keep doing so while the block runs.  Ready means that all files are there."""
    clock, places = SystemClock(), Places(settings.root)
    issued_at = clock.now()
    authorities = ensure_authorities(kept_data_dir(places), first_start=False, now=issued_at)
    issue = partial(_issue, places, settings, authorities)
    await asyncio.to_thread(issue, issued_at)
    renewing = partial(
        keep_renewing, issue, _nobody_waits, issued_at=issued_at, lifetime=settings.lifetime, clock=clock
    )
    async with Background(clock=clock) as background:
        background.start("renewal", renewing)
        yield {}


def _issue(places: Places, settings: ComposeSettings, authorities: Authorities, now: datetime) -> None:
    issue_all(
        CredentialFiles(places.services, places.ca),
        authorities,
        gateway_names=(settings.public_host, "gateway"),
        bus_names=(settings.public_host, BUS_SERVER),
        ingress_names=(settings.public_host, "ingress"),
        apps_domain=settings.apps_domain,
        now=now,
        lifetime=settings.lifetime,
    )


def _nobody_waits() -> None:
    """Everybody looks at their own files."""
