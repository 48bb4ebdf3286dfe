"""The passwords of the database, made once and kept: containers come and go apart from each other, so they cannot be made anew at each start.

Services find theirs in a password file in Postgres' own format, so no address and no environment holds one.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from infra.compose.places import DATABASE_SERVER, Places
from lattice.errors import NotFound
from lattice.files import write_durably
from standalone import postgres
from standalone.databases import SERVICES_WITH_STATE, role_of

PORT = 5432
ADMINISTRATOR = "postgres"


def administrator(places: Places) -> postgres.PostgresConfig:
    """How to enter the database with every right."""
    return postgres.PostgresConfig(places.passwords, PORT, superuser=ADMINISTRATOR)


def password_of(places: Places, service: str) -> str:
    """The password of a service's role."""
    return (places.passwords / service).read_text()


def ensure_passwords(places: Places, *, first_start: bool) -> None:
    """Every password and the files in which services find theirs.

    Raises NotFound where the administrator's is gone while the database still knows it.
    """
    _ensure(administrator(places).password_file, first_start=first_start)
    for service in SERVICES_WITH_STATE:
        # The database is told them at each start, so one of a service that came with a newer release is made now.
        _ensure(places.passwords / service, first_start=True)
        line = f"*:*:*:{role_of(service)}:{password_of(places, service)}\n"
        write_durably(places.own(service) / "database.pgpass", line.encode())


def hand_to_database(places: Places, password: str) -> None:
    """Put the administrator's password where the database's container looks for it at its first start."""
    write_durably(places.own(DATABASE_SERVER) / "password", password.encode())


def _ensure(path: Path, *, first_start: bool) -> None:
    if path.exists():
        return
    if not first_start:
        raise NotFound(f"{path} is gone, and the database expects it: restore the volume from a backup.")
    write_durably(path, secrets.token_urlsafe(24).encode())
