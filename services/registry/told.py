"""Rows that keep what the ingresses are told (`document`, `number`): noted as told once the bus has it, unless a newer one stands there by then."""

from __future__ import annotations

from services.registry.change import Deps
from services.registry.tables import LinkTargetRow, RouteRow


async def note_told(deps: Deps, row: RouteRow | LinkTargetRow) -> None:
    """The bus has the document of this row, as it was read."""
    async with deps.store.transaction() as tx:
        current = await tx.get(type(row), row.id, lock=True)
        if current is not None and current.number == row.number and current.unpublished:
            tx.update(current, unpublished=False)
