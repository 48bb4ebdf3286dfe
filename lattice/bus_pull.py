"""Working through a durable consumer, whatever happens to the link.

One pull request is kept open at the server, watched by its heartbeats of 1 s: when they stop, or the server says that the request is over,
or a new connection came up, the next request is made.  (nats-py's own fetch was seen to stall, and its watchers took 19 s to come back.)
A message is acknowledged after its handler returned; while it waits or is handled here, the server is told so and gives it to nobody else.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from nats.aio.msg import Msg

from lattice.bus_handling import Again, Done, Fate, GivenUp, Raw
from lattice.bus_link import Link, Wanted
from lattice.bus_requests import headers_of
from lattice.contracts.streams import Consumer
from lattice.errors import LatticeError

HEARTBEAT_S = 1.0
EXPIRES_S = 30.0
MISSED_S = 2.2 * HEARTBEAT_S
_PAUSE_S = 0.1
_MOST_AHEAD = 64
_NS = 1_000_000_000
_HEARTBEAT = "100"


@dataclass(frozen=True, slots=True)
class Held:
    """A message that this process has and has not settled."""

    ack: str
    raw: Raw


class PullLoop:
    """One process's share of a durable consumer."""

    def __init__(
        self, link: Link, consumer: Consumer, handle: Callable[[Raw], Awaitable[Fate]], *, concurrency: int
    ) -> None:
        self._link, self._consumer, self._handle = link, consumer, handle
        self._concurrency = concurrency
        self._ahead = min(consumer.max_ack_pending, max(concurrency, _MOST_AHEAD))
        self._inbox = f"{link.inbox}.{secrets.token_hex(6)}"
        self._number = 0
        self._arrived: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._work: asyncio.Queue[Held | None] = asyncio.Queue()
        self._held: dict[str, Held] = {}
        self._room = asyncio.Event()
        self._wanted: Wanted | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._workers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._room.set()
        self._wanted = await self._link.subscribe(f"{self._inbox}.*", self._arrived.put)
        self._link.on_up.append(self._look_again)
        self._loops = [asyncio.create_task(self._pull()), asyncio.create_task(self._keep_alive())]
        self._workers = [asyncio.create_task(self._settle_one_by_one()) for _ in range(self._concurrency)]

    async def stop(self) -> None:
        """Pull no more, give back what was not begun, wait for the handlers that run."""
        self._link.on_up.remove(self._look_again)
        self._loops[0].cancel()
        if self._wanted is not None:
            await self._wanted.stop()
        await self._give_back()
        for _ in self._workers:
            self._work.put_nowait(None)
        others = set(self._workers) - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)
        self._loops[1].cancel()

    # -------------------------------------------------------------------------------- pulling

    async def _pull(self) -> None:
        while True:
            await self._room.wait()
            await self._link.wait_up()
            batch = self._ahead - len(self._held)
            self._number += 1
            with suppress(LatticeError):
                await self._request(batch)
                await self._receive(batch)

    async def _request(self, batch: int) -> None:
        request = {
            "batch": batch,
            "expires": int(EXPIRES_S * _NS),
            "idle_heartbeat": int(HEARTBEAT_S * _NS),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._consumer.stream}.{self._consumer.durable}"
        await self._link.send(subject, json.dumps(request).encode(), reply=f"{self._inbox}.{self._number}")

    async def _receive(self, batch: int) -> None:
        """Take messages until the request is used up or over."""
        while batch > 0:
            msg = await self._next()
            if msg is None:
                return
            status = headers_of(msg).get("Status", "")
            if not status:
                batch -= 1
                self._hold(msg)
            elif status != _HEARTBEAT and msg.subject == f"{self._inbox}.{self._number}":
                await asyncio.sleep(
                    _PAUSE_S
                )  # no such consumer, leader moved, too many pulls, or just expired
                return

    async def _next(self) -> Msg | None:
        """The next thing the server says, or None when it is time to ask anew."""
        if not self._arrived.empty():
            return self._arrived.get_nowait()
        try:
            return await asyncio.wait_for(self._arrived.get(), MISSED_S)
        except TimeoutError:
            return None

    async def _look_again(self) -> None:
        self._arrived.put_nowait(None)

    def _hold(self, msg: Msg) -> None:
        if msg.reply in self._held:
            return
        held = Held(msg.reply, raw_of(msg))
        self._held[held.ack] = held
        self._work.put_nowait(held)
        if len(self._held) > self._ahead // 2:
            self._room.clear()

    # -------------------------------------------------------------------------------- settling

    async def _settle_one_by_one(self) -> None:
        while True:
            held = await self._work.get()
            if held is None:
                return
            try:
                fate = await self._handle(held.raw)
                await self._say(held, answer_to(fate))
            finally:
                self._forget(held)

    async def _give_back(self) -> None:
        while not self._work.empty():
            held = self._work.get_nowait()
            if held is not None:
                await self._say(held, b"-NAK")
                self._forget(held)

    def _forget(self, held: Held) -> None:
        self._held.pop(held.ack, None)
        if len(self._held) <= self._ahead // 2:
            self._room.set()

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(min(self._consumer.backoff_s) / 3)
            for held in tuple(self._held.values()):
                await self._say(held, b"+WPI")

    async def _say(self, held: Held, word: bytes) -> None:
        with suppress(LatticeError):  # without a link it is delivered again, and handlers bear that
            await self._link.send(held.ack, word)


def answer_to(fate: Fate) -> bytes:
    """What the server is told about a message."""
    match fate:
        case Done():
            return b"+ACK"
        case Again(pause_s=pause_s):
            return b"-NAK " + json.dumps({"delay": int(pause_s * _NS)}).encode()
        case GivenUp(reason=reason):
            return b"+TERM " + reason.encode()


def raw_of(msg: Msg) -> Raw:
    """A delivered message with what its acknowledgement subject says: how often it was delivered, and its number."""
    tokens = msg.reply.split(".")
    # `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.…`, or with domain and account in front of the stream.
    deliveries, stream_seq = tokens[4:6] if len(tokens) < 11 else tokens[6:8]
    return Raw(msg.subject, msg.data, headers_of(msg), int(stream_seq), int(deliveries))
