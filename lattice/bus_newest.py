"""Keeping the newest document of a subject, by the document's own order and compare-and-swap.

The stream's sequence guards one exchange only.  What was seen last is remembered to save a read, together with its order, and forgotten with
the connection: a store that was erased counts from 1 again, and a number from before must not fit by chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from lattice.bus_append import EXPECTED_LAST, Appender, WrongLast
from lattice.bus_read import last_from_leader
from lattice.bus_requests import Requests
from lattice.bus_wire import Wire, decode
from lattice.contracts.catalogue import Channel
from lattice.contracts.nouns import Noun
from lattice.errors import Temporary

P = TypeVar("P", bound=Noun)

# How often somebody else may come first.
_SWAPS = 5


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a subject held: its number in the stream and its order; 0 and () when nothing."""

    seq: int = 0
    order: tuple[int, ...] = ()


class Newest:
    """Puts documents in their place."""

    def __init__(self, requests: Requests, appender: Appender) -> None:
        self._requests, self._appender = requests, appender
        self._seen: dict[str, _Seen] = {}

    def forget(self) -> None:
        self._seen.clear()

    async def put(
        self,
        channel: Channel[P],
        message: P,
        order: Callable[[P], tuple[int, ...]],
        wire: Callable[[], Wire],
    ) -> bool:
        """Whether `message` was added; not when what is there is as new or newer.  `wire` writes it, with a fresh id each time."""
        wanted = order(message)
        for _ in range(_SWAPS):
            outgoing = wire()
            seen = self._seen.pop(outgoing.subject, _Seen(order=wanted))
            if seen.order >= wanted:
                seen = await self._look(channel, outgoing.subject, order)
            if seen.order >= wanted:
                return False
            if await self._swap(outgoing, seen.seq, wanted):
                return True
        raise Temporary(f"Others keep writing {channel.name}: try again.")

    async def _swap(self, outgoing: Wire, expected: int, order: tuple[int, ...]) -> bool:
        outgoing.headers[EXPECTED_LAST] = str(expected)
        try:
            stored = await self._appender.append(outgoing)
        except WrongLast:
            return False
        self._seen[outgoing.subject] = _Seen(stored.seq, order)
        return True

    async def _look(self, channel: Channel[P], subject: str, order: Callable[[P], tuple[int, ...]]) -> _Seen:
        if channel.stream is None:
            raise ValueError(f"{channel.name} has no stream")
        found = await last_from_leader(self._requests, channel.stream.name, subject)
        if found is None:
            return _Seen()
        kept, seq = found
        return _Seen(seq, order(decode(channel, kept.subject, kept.payload, kept.headers).message))
