"""Adding many messages at once: frames are put together in blocks, acknowledgements are counted on one inbox.

nats-py's `publish_async` keeps a task and a future per message and reaches 11,000 messages a second; counting reaches several times that,
because what costs is Python per message, not the network.  nats-py has no call for writing a block, so its inner `_send_command` is used.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.protocol.command import hpub_cmd

from lattice.bus_append import read_ack_payload
from lattice.bus_link import Link
from lattice.bus_wire import META, MSG_ID, check_msg_id, cloud_event, context_headers, to_ascii, to_json
from lattice.contracts.catalogue import Channel
from lattice.contracts.subjects import Address
from lattice.errors import Invalid, Temporary
from lattice.messaging import Outgoing, Stored

# How many messages may be on their way at once; more gains nothing and costs memory on both sides.
WINDOW = 4096
BLOCK = 256
# Without any acknowledgement for this long, what is missing is sent again, and after so many times given up.
SILENCE_S = 2.0
TRIES = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """A message with its headers as bytes already."""

    subject: str
    head: bytes
    payload: bytes


class Framer:
    """Writes messages of one bulk: what is the same in all headers is written once."""

    def __init__(self, source: str, at: datetime) -> None:
        self._source, self._at = source, at
        self._starts: dict[str, str] = {}

    def frame(self, outgoing: Outgoing[Any]) -> Frame:
        channel, msg_id = outgoing.channel, check_msg_id(outgoing.msg_id)
        payload, meta = to_json(outgoing.message), ""
        if channel.binary:
            payload, meta = outgoing.body, f"{META}: {to_ascii(payload)}\r\n"
        start = self._starts.get(channel.name) or self._start(channel)
        head = f"{start}{MSG_ID}: {msg_id}\r\nce-id: {msg_id}\r\n{meta}\r\n"
        return Frame(_subject(channel.address, tuple(outgoing.tokens.items())), head.encode(), payload)

    def _start(self, channel: Channel[Any]) -> str:
        headers = cloud_event(
            channel.name, source=self._source, event_id="", at=self._at, binary=channel.binary
        )
        headers |= context_headers()
        lines = (f"{name}: {value}\r\n" for name, value in headers.items() if value)
        self._starts[channel.name] = f"NATS/1.0\r\n{''.join(lines)}"
        return self._starts[channel.name]


@lru_cache(maxsize=4096)
def _subject(address: Address, tokens: tuple[tuple[str, str], ...]) -> str:
    return address.subject(**dict(tokens))


class _Batch:
    """The acknowledgements of one call."""

    def __init__(self, size: int) -> None:
        self.acks: list[bytes | None] = [None] * size
        self.missing = size
        self.progress = asyncio.Event()

    def take(self, place: int, payload: bytes) -> None:
        if self.acks[place] is None:
            self.acks[place] = payload
            self.missing -= 1
            self.progress.set()


class Bulk:
    """Appends lists of frames."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._inbox = f"{link.inbox}.{secrets.token_hex(4)}"
        self._numbers = itertools.count()
        self._batches: dict[str, _Batch] = {}

    async def start(self) -> None:
        await self._link.subscribe(f"{self._inbox}.*.*", self._deliver)

    async def append(self, frames: Sequence[Frame]) -> list[Stored]:
        """All of them, in order.  Raises Temporary when an acknowledgement is missing (send all again: what is stored is dropped), Invalid
        for a message that is too large: then nothing was sent."""
        number, batch = str(next(self._numbers)), _Batch(len(frames))
        _check_sizes(frames, self._link.client)
        self._batches[number] = batch
        try:
            for _ in range(TRIES):
                await self._send_missing(frames, batch, f"{self._inbox}.{number}.")
                if await self._all_came(batch, at_most=0):
                    return [read_ack_payload(ack) for ack in batch.acks if ack is not None]
                await self._back_up()
        finally:
            del self._batches[number]
        raise Temporary(f"{batch.missing} of {len(frames)} messages were not acknowledged: send all again.")

    async def _send_missing(self, frames: Sequence[Frame], batch: _Batch, reply: str) -> None:
        client = self._link.client
        places = [place for place, ack in enumerate(batch.acks) if ack is None]
        for start in range(0, len(places), BLOCK):
            on_the_way = start - (len(places) - batch.missing)
            if on_the_way > WINDOW and not await self._all_came(batch, at_most=len(places) - start + WINDOW):
                return
            block = [_command(frames[place], f"{reply}{place}") for place in places[start : start + BLOCK]]
            await client._send_command(b"".join(block))
            await client._flush_pending()

    async def _all_came(self, batch: _Batch, *, at_most: int) -> bool:
        """Wait until at most so many acknowledgements are missing; False when none came for a while or the link broke."""
        while batch.missing > at_most:
            batch.progress.clear()
            try:
                await asyncio.wait_for(batch.progress.wait(), SILENCE_S)
            except TimeoutError:
                return False
        return True

    async def _back_up(self) -> None:
        try:
            await asyncio.wait_for(self._link.wait_up(), SILENCE_S)
        except TimeoutError:
            raise Temporary("The link to NATS broke: send all again when it is back.") from None

    async def _deliver(self, msg: Msg) -> None:
        _, number, place = msg.subject.rsplit(".", 2)
        batch = self._batches.get(number)
        if batch is not None and not (msg.headers and "Status" in msg.headers):
            batch.take(int(place), msg.data)


def _check_sizes(frames: Sequence[Frame], client: Client) -> None:
    # The server would close the connection, and everybody on it would suffer.
    for frame in frames:
        if len(frame.payload) + len(frame.head) > client.max_payload:
            raise Invalid(f"A message of {len(frame.payload)} bytes to {frame.subject} is too large.")


def _command(frame: Frame, reply: str) -> bytes:
    return hpub_cmd(frame.subject, reply, frame.head, frame.payload)
