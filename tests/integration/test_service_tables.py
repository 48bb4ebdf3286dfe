"""The migrations of the services that only keep tables lead to exactly the tables that their rows describe."""

from __future__ import annotations

import pytest

from lattice.migrations import Migrations, missing_changes, upgrade
from services.alerts import tables as alerts
from services.registry import tables as registry

pytestmark = pytest.mark.parametrize(
    "migrations", [registry.MIGRATIONS, alerts.MIGRATIONS], ids=lambda each: each.schema
)


async def test_migrations_and_rows_agree(postgres_url: str, migrations: Migrations) -> None:
    await upgrade(postgres_url, migrations)
    assert await missing_changes(postgres_url, migrations) == ""


async def test_a_second_start_changes_nothing(postgres_url: str, migrations: Migrations) -> None:
    await upgrade(postgres_url, migrations)
    await upgrade(postgres_url, migrations)
    assert await missing_changes(postgres_url, migrations) == ""
