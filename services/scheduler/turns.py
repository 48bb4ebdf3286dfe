"""Runs one piece of work for everybody who asked for it meanwhile: a hundred wake-ups at once are one round.

A round is about the things that were asked for, or about everything where anybody asked for that: so what one wake-up costs does not grow
with what has waited in vain for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from loguru import logger

from lattice.errors import LatticeError, Temporary

Work = Callable[[frozenset[str] | None], Awaitable[None]]
"""One round about these things; None for everything."""


class Turns:
    """`wanted` waits for a round that begins after it was called; `poke` asks for one about everything, without waiting."""

    def __init__(self, work: Work, *, fatal: type[LatticeError]) -> None:
        self._work = work
        self._things: set[str] | None = set()
        self._fatal = fatal
        self._next: asyncio.Future[None] | None = None
        self._asked = asyncio.Event()
        self._closed = False

    def poke(self) -> None:
        """Ask for a round about everything."""
        self._things = None
        self._asked.set()

    async def wanted(self, thing: str) -> None:
        """Wait for a round about this thing that begins from now on; raises what went wrong in it."""
        if self._closed:
            raise _over()
        if self._things is not None:
            self._things.add(thing)
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        self._asked.set()
        await asyncio.shield(self._next)

    async def run(self) -> None:
        """Work through the rounds; ends with an error of the `fatal` kind only."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            waiting, self._next = self._next, None
            things, self._things = self._things, set()
            try:
                await self._round(waiting, None if things is None else frozenset(things))
            finally:
                _tell(waiting, _over())  # cut short: nobody must wait for ever

    async def _round(self, waiting: asyncio.Future[None] | None, things: frozenset[str] | None) -> None:
        try:
            await self._work(things)
        except LatticeError as error:
            _tell(waiting, error)
            if isinstance(error, self._fatal):
                raise
            logger.warning("a round failed: {}", error)
        else:
            _tell(waiting, None)

    def close(self) -> None:
        """No more rounds: whoever waits is told so."""
        self._closed = True
        _tell(self._next, _over())


def _over() -> Temporary:
    return Temporary("Another scheduler leads now.")


def _tell(waiting: asyncio.Future[None] | None, error: LatticeError | None) -> None:
    if waiting is None or waiting.done():
        return
    if error is None:
        waiting.set_result(None)
    else:
        waiting.set_exception(error)
        waiting.exception()  # looked at: perhaps nobody waits any more
