"""The registry's migrations lead to exactly the tables that its rows describe."""

from __future__ import annotations

from lattice.migrations import missing_changes, upgrade
from services.registry.tables import MIGRATIONS


async def test_migrations_and_rows_agree(postgres_url: str) -> None:
    await upgrade(postgres_url, MIGRATIONS)
    assert await missing_changes(postgres_url, MIGRATIONS) == ""


async def test_a_second_start_changes_nothing(postgres_url: str) -> None:
    await upgrade(postgres_url, MIGRATIONS)
    await upgrade(postgres_url, MIGRATIONS)
    assert await missing_changes(postgres_url, MIGRATIONS) == ""
