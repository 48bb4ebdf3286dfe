"""Row locks and named locks of open units of work, with the deadlocks that Postgres would find."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field

from lattice.errors import Temporary


@dataclass
class Locks:
    """Who holds which lock, and who waits for whom.  Held to the end of the unit of work."""

    owners: dict[Hashable, object] = field(default_factory=dict)
    waiting_for: dict[object, object] = field(default_factory=dict)
    _released: asyncio.Condition = field(default_factory=asyncio.Condition)

    def is_free(self, what: Hashable, unit: object) -> bool:
        """Whether `unit` could have the lock now, or has it."""
        return self.owners.get(what, unit) is unit

    async def take(self, what: Hashable, unit: object) -> bool:
        """Take the lock; True if others may have changed something while we waited for it."""
        waited = False
        while not self.is_free(what, unit):
            waited = True
            await self._wait(unit, self.owners[what])
        self.owners[what] = unit
        return waited

    async def release(self, unit: object) -> None:
        """Everything that the unit holds is free."""
        self.owners = {what: owner for what, owner in self.owners.items() if owner is not unit}
        async with self._released:
            self._released.notify_all()

    async def _wait(self, unit: object, owner: object) -> None:
        self.waiting_for[unit] = owner
        try:
            if self._leads_back(unit):
                raise Temporary("The database asks to try again: deadlock detected")
            async with self._released:
                await self._released.wait()
        finally:
            del self.waiting_for[unit]

    def _leads_back(self, unit: object) -> bool:
        other = self.waiting_for.get(unit)
        while other is not None and other is not unit:
            other = self.waiting_for.get(other)
        return other is unit
