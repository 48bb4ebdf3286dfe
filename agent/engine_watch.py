"""Whether the Engine answers, and what it tells: everything is listed when the stream of events has begun, and again after each gap.

After a restart the Engine remembers no events, and a hung one sends none without breaking the stream.  So a question goes out every few
seconds, and all is listed anew when the answers come back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Any, cast

from loguru import logger

from agent.inventory import InventoryKeeper
from agent.outages import Outage, outage
from agent.world import World
from lattice.clock import Clock
from lattice.errors import LatticeError
from lattice.runtime import LISTENING, EngineEvent, Runtime

PING_S = 5.0
LIST_S = 60.0
_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.2, 5.0


class EngineWatch:
    """Keeps `World` true."""

    def __init__(
        self,
        runtime: Runtime,
        world: World,
        inventory: InventoryKeeper,
        cluster_id: str,
        *,
        returned: Callable[[Outage], Awaitable[None]],
        changed: Callable[[], None],
        clock: Clock,
        chance: random.Random,
        ping_s: float = PING_S,
    ) -> None:
        self._runtime, self._world, self._inventory = runtime, world, inventory
        self._cluster_id, self._changed, self._chance = cluster_id, changed, chance
        self._returned, self._clock = returned, clock
        self._answered_at: datetime | None = None
        self._interrupted = False
        self._ping_s = ping_s
        self.problem = ""
        """Why the Engine cannot be used, in plain words; empty when it can."""

    async def listen(self) -> None:
        """Hear events, for ever."""
        retry_s = _FIRST_RETRY_S
        while True:
            try:
                events = cast("Any", self._runtime.events(self._cluster_id))
                async with aclosing(events):
                    async for event in events:
                        await self._heard(event)
                        retry_s = _FIRST_RETRY_S
                self._note_problem("the Docker Engine went away")
            except LatticeError as error:
                self._note_problem(error.detail)
            self._world.complete = False
            await asyncio.sleep(retry_s * (1 + self._chance.random()))
            retry_s = min(_LONGEST_RETRY_S, 2 * retry_s)

    async def ping(self) -> None:
        """Ask whether it answers, for ever; after silence, and once a minute anyway, list everything."""
        loop = asyncio.get_running_loop()
        list_at = loop.time() + LIST_S
        while True:
            await asyncio.sleep(self._ping_s)
            try:
                await self._runtime.info()
                self._note_answer()
                if self.problem or loop.time() >= list_at:
                    await self._list_all()
                    list_at = loop.time() + LIST_S
            except LatticeError as error:
                self._note_problem(error.detail)

    async def _heard(self, event: EngineEvent) -> None:
        self._note_answer()
        if event == LISTENING:
            await self._list_all()
        elif not self._world.shows(event):
            await self._world.look(event.name)
            self._changed()

    async def _list_all(self) -> None:
        await self._end_interruption()
        # The images first: when the containers are listed the report is complete, and the node is ready for work.
        await self._inventory.refresh()
        await self._world.list_all()
        self._note_problem("")
        self._changed()

    async def _end_interruption(self) -> None:
        """Before what is there is known again: else it would be decided on as if the containers had ended by themselves."""
        if not self._interrupted:
            return
        if self._answered_at is not None:
            await self._returned(outage(answered_at=self._answered_at, back_at=self._clock.now()))
        self._interrupted = False

    def _note_answer(self) -> None:
        if not self._interrupted:
            self._answered_at = self._clock.now()

    def _note_problem(self, problem: str) -> None:
        self._interrupted = self._interrupted or bool(problem)
        if problem != self.problem:
            logger.log("WARNING" if problem else "INFO", "Docker Engine: {}", problem or "answers")
            self.problem = problem
            self._changed()
