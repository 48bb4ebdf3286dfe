"""The platform's database and who may enter it: a role and a schema of its own for each service that keeps state.

One database, so that a backup is of one moment; separate roles, so that a fault in the gateway cannot write the registry's tables.  The
passwords are made anew at each start and are in nobody's files.
"""

from __future__ import annotations

import asyncio
import secrets

from standalone import postgres

DATABASE = "lattice"
OWNER = "registry"
GUESTS = ("gateway", "alerts")
SERVICES_WITH_STATE = (OWNER, *GUESTS)


def role_of(service: str) -> str:
    return f"lattice_{service}"


class Databases:
    """Makes the database when the first service needs it, and knows its addresses."""

    def __init__(self, config: postgres.PostgresConfig) -> None:
        self._config = config
        self._passwords = {service: secrets.token_urlsafe(24) for service in SERVICES_WITH_STATE}
        self._making = asyncio.Lock()
        self._made = False

    def url(self, service: str) -> str:
        """A service's address; it holds the password."""
        return postgres.url(
            self._config, user=role_of(service), password=self._passwords[service], database=DATABASE
        )

    async def ensure(self) -> None:
        """Database and roles as they should be; safe to repeat.  Raises LatticeError or OSError while Postgres is away."""
        async with self._making:
            if self._made:
                return
            await postgres.ensure_database(
                self._config, role=role_of(OWNER), password=self._passwords[OWNER], database=DATABASE
            )
            for service in GUESTS:
                await postgres.ensure_guest(
                    self._config, role=role_of(service), password=self._passwords[service], database=DATABASE
                )
            self._made = True
