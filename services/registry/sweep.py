"""Looks again every few seconds at what should have moved: operations whose deadline came, rows that are too old to keep.

Everything here is also done at once by whatever event makes it due; the sweep is for the events that never came.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from loguru import logger

from lattice.contracts.nouns import DesiredState
from lattice.errors import StaleVersion, Temporary
from lattice.storage import Lt, Not
from services.registry import apps, drains, links
from services.registry.app_places import apart
from services.registry.change import SYSTEM, Deps
from services.registry.displacing import workloads_to_move
from services.registry.following import follow_up
from services.registry.held_room import no_more_held
from services.registry.operations import Kind
from services.registry.retention import drop_old, drop_passing
from services.registry.tables import (
    InstanceRow,
    OperationRow,
    RolloutRow,
    RouteRow,
    WorkloadRow,
)
from services.registry.workload_rows import touch_nodes

DEADLINE_EVERY_S = 1.0
ALL_EVERY = 10  # rounds
OLD_EVERY = 300  # rounds: it reads whole tables
_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Sweep:
    """The loop; one replica at a time."""

    deps: Deps

    async def run(self) -> None:
        """Sweep for ever while this process holds the lock."""
        while True:
            async with self.deps.store.exclusive("sweep") as held:
                await self._hold(held=held)
            await asyncio.sleep(DEADLINE_EVERY_S)

    async def _hold(self, *, held: bool) -> None:
        round_ = 0
        while held:
            try:
                await self.round(everything=round_ % ALL_EVERY == 0)
                if round_ % OLD_EVERY == 0:
                    await self.forget()
                    await self.refresh_routes()
            except (Temporary, StaleVersion) as error:
                logger.info("the sweep begins anew: {}", error)
                return
            round_ += 1
            await asyncio.sleep(DEADLINE_EVERY_S)

    async def round(self, *, everything: bool) -> None:
        """End what is past its deadline; with `everything`, look at all that is open and drop what is too old."""
        await self._advance(overdue_only=not everything)
        await self._move()
        await self._drains()
        await self._release()
        await self._converge(everything=everything)
        if everything:
            await self._rejoin()
            await self._let_rooms_go()
            await self._wake_for_unplaced()
            await apps.finish_removals(self.deps)
            async with self.deps.store.transaction() as tx:
                await drop_passing(tx, self.deps.now())

    async def _move(self) -> None:
        """Take work off nodes that are lost or drained."""
        async with self.deps.store.transaction() as tx:
            due = await workloads_to_move(tx, self.deps.now())
        await follow_up(self.deps, due, unsettle=True)

    async def _release(self) -> None:
        """Look again at what waits for other workloads."""
        async with self.deps.store.transaction() as tx:
            rows = await tx.find(InstanceRow, waits_on=Not(None), gone_at=None, limit=_AT_ONCE)
        await follow_up(self.deps, (row.workload_id for row in rows))

    async def _rejoin(self) -> None:
        """Bring apps together that are on several nodes."""
        async with self.deps.store.transaction() as tx:
            due = await apart(tx)
        await follow_up(self.deps, due, unsettle=True)

    async def _drains(self) -> None:
        async with self.deps.store.transaction() as tx:
            rows = await tx.find(OperationRow, kind=Kind.DRAIN, ended_at=None)
        for row in rows:
            async with self.deps.change(SYSTEM, action="operation.sweep") as change:
                await drains.advance(change, row.id)

    async def _advance(self, *, overdue_only: bool) -> None:
        now = self.deps.now()
        due: dict[str, Any] = {"deadline": Lt(now)} if overdue_only else {}
        async with self.deps.store.transaction() as tx:
            rows = await tx.find(OperationRow, ended_at=None, order_by=("deadline",), limit=_AT_ONCE, **due)
        await follow_up(self.deps, (row.subject_id for row in rows if row.subject_kind == "workload"))

    async def _converge(self, *, everything: bool) -> None:
        """Look at the workloads that are being updated; with `everything`, at all that are not as wanted."""
        async with self.deps.store.transaction() as tx:
            rollouts = await tx.find(RolloutRow, ended_at=None, limit=_AT_ONCE)
            due = {row.workload_id for row in rollouts}
            if everything:
                rows = await tx.find(WorkloadRow, settled=False, removed_at=None, limit=_AT_ONCE)
                due |= {row.id for row in rows if row.desired == DesiredState.RUNNING}
                going = await tx.find(
                    WorkloadRow, desired=DesiredState.REMOVED, removed_at=None, limit=_AT_ONCE
                )
                due |= {row.id for row in going}
        await follow_up(self.deps, due)

    async def refresh_routes(self) -> None:
        """Look again at what ingresses were told: what followed a report may have been lost with the process that had taken it in."""
        async with self.deps.store.transaction() as tx:
            rows = await tx.find(RouteRow, released_at=None, order_by=("workload_id",))
        await follow_up(self.deps, {row.workload_id for row in rows})
        async with self.deps.change(SYSTEM, action="link.sweep") as change:
            await links.touch_all(change)

    async def _let_rooms_go(self) -> None:
        async with self.deps.store.transaction() as tx:
            rows = await no_more_held(tx, self.deps.now())
        if rows:
            async with self.deps.change(SYSTEM, action="instance.sweep") as change:
                await touch_nodes(change, rows)

    async def _wake_for_unplaced(self) -> None:
        """Ask the scheduler again for what still has no place."""
        async with self.deps.store.transaction() as tx:
            rows = await tx.find(
                InstanceRow, node_id=None, gone_at=None, desired=DesiredState.RUNNING, limit=_AT_ONCE
            )
        if rows:
            async with self.deps.change(SYSTEM, action="instance.sweep") as change:
                for workload_id in sorted({row.workload_id for row in rows}):
                    change.wake_scheduler(workload_id)

    async def forget(self) -> None:
        """Drop what is over and too old to be asked for."""
        async with self.deps.store.transaction() as tx:
            await drop_old(tx, self.deps.now())
