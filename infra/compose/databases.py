"""The container that makes the platform's database and roles in a Postgres that runs already."""

from __future__ import annotations

import asyncio

from infra.compose.passwords import administrator, password_of
from infra.compose.places import Places
from infra.compose.settings import ComposeSettings
from standalone import postgres
from standalone.databases import DATABASE, GUESTS, OWNER, role_of


def make_databases(settings: ComposeSettings) -> None:
    """Database and roles, then end.  Raises Temporary while Postgres is away."""
    asyncio.run(ensure_databases(Places(settings.root)))


async def ensure_databases(places: Places) -> None:
    """Database and roles as they should be, with the passwords that services have; safe to repeat."""
    config = administrator(places)
    await postgres.ensure_database(
        config, role=role_of(OWNER), password=password_of(places, OWNER), database=DATABASE
    )
    for service in GUESTS:
        await postgres.ensure_guest(
            config, role=role_of(service), password=password_of(places, service), database=DATABASE
        )
