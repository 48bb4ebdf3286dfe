"""The store in memory tells who locks rows in another order than everybody else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lattice.testing import MemoryDatabase, MemoryStore
from services.registry.tables import LOCK_ORDER, ClusterRow, WorkloadRow

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore(MemoryDatabase(lock_order=LOCK_ORDER))
    async with store.transaction() as tx:
        tx.add(ClusterRow(cluster_id="c1234567", created_at=NOW))
        tx.add(
            WorkloadRow(
                id="wl-1", project="default", name="web", desired="running", created_at=NOW, updated_at=NOW
            )
        )
    return store


async def test_the_agreed_order_is_fine(store: MemoryStore) -> None:
    async with store.transaction() as tx:
        await tx.get(ClusterRow, 1, lock=True)
        await tx.get(WorkloadRow, "wl-1", lock=True)
        await tx.get(ClusterRow, 1, lock=True)  # it has that one


async def test_another_order_is_a_bug(store: MemoryStore) -> None:
    with pytest.raises(AssertionError, match=r"registry\.cluster is locked after registry\.workload"):
        async with store.transaction() as tx:
            await tx.get(WorkloadRow, "wl-1", lock=True)
            await tx.get(ClusterRow, 1, lock=True)


async def test_a_change_locks_too(store: MemoryStore) -> None:
    with pytest.raises(AssertionError, match="is locked after"):
        async with store.transaction() as tx:
            cluster = await tx.get(ClusterRow, 1)
            assert cluster is not None
            await tx.get(WorkloadRow, "wl-1", lock=True)
            tx.update(cluster, term=1)
