"""Adding many messages at once, in order.

Where the stream takes batches, up to 1,000 messages become one: one acknowledgement, one flush to the disk, all or none.  A batch that
holds a message the stream has already is refused as a whole; then, and on streams without batches, the messages go one by one with their
acknowledgements counted on one inbox.  Either way the cost is Python per message, so frames are written in blocks: nats-py has no call for
that, hence its inner `_send_command`.  (nats-py's `publish_async` keeps a task and a future per message.)
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.protocol.command import hpub_cmd

from lattice.bus_append import read_ack_payload
from lattice.bus_frames import Frame
from lattice.bus_link import Link
from lattice.errors import Invalid, Temporary
from lattice.messaging import Stored

# The server's own limit for a batch, and ours for what it must hold in memory meanwhile.
BATCH_MESSAGES = 1000
BATCH_BYTES = 4 * 2**20
# How many messages may be on their way one by one; more gains nothing and costs memory on both sides.
WINDOW = 4096
BLOCK = 256
# Without any acknowledgement for this long, what is missing is sent again, and after so many times given up.
SILENCE_S = 2.0
TRIES = 3

_FIRST, _COMMIT = 0, 1


class _Acks:
    """Acknowledgements by place, as they come."""

    def __init__(self, size: int) -> None:
        self.came: list[bytes | None] = [None] * size
        self.missing = size
        self._progress = asyncio.Event()

    def take(self, place: int, payload: bytes) -> None:
        if self.came[place] is None:
            self.came[place] = payload
            self.missing -= 1
            self._progress.set()

    async def wait(self, *, at_most: int = 0) -> bool:
        """Until at most so many are missing; False when none came for a while."""
        while self.missing > at_most:
            self._progress.clear()
            try:
                await asyncio.wait_for(self._progress.wait(), SILENCE_S)
            except TimeoutError:
                return False
        return True


class Bulk:
    """Appends lists of frames."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._inbox = f"{link.inbox}.{secrets.token_hex(4)}"
        self._numbers = itertools.count()
        self._acks: dict[str, _Acks] = {}

    async def start(self) -> None:
        await self._link.subscribe(f"{self._inbox}.*.*", self._deliver)

    async def append(self, frames: Sequence[Frame]) -> list[Stored]:
        """All of them, in order.  Raises Temporary when an acknowledgement is missing (send all again: what is stored is dropped), Invalid
        for a message that is too large: then nothing was sent."""
        check_sizes(frames, self._link.client)
        stored: list[Stored] = []
        for group in groups(frames):
            stored += await self._as_batch(group) or await self._one_by_one(group)
        return stored

    # -------------------------------------------------------------------------------- one batch

    async def _as_batch(self, group: Sequence[Frame]) -> list[Stored]:
        """Where each message is now; nothing when the batch was refused, or whether it was is not known."""
        if len(group) == 1 or not group[0].stream:
            return []
        number, acks = self._new_acks(2)
        try:
            await self._write(batch_commands(group, f"{self._inbox}.{number}"))
            return read_batch_ack(acks.came[_COMMIT], len(group)) if await acks.wait() else []
        finally:
            del self._acks[number]

    # -------------------------------------------------------------------------------- one by one

    async def _one_by_one(self, group: Sequence[Frame]) -> list[Stored]:
        number, acks = self._new_acks(len(group))
        try:
            for _ in range(TRIES):
                await self._write_missing(group, acks, f"{self._inbox}.{number}")
                if await acks.wait():
                    return [read_ack_payload(ack) for ack in acks.came if ack is not None]
                await self._back_up()
        finally:
            del self._acks[number]
        raise Temporary(f"{acks.missing} of {len(group)} messages were not acknowledged: send all again.")

    async def _write_missing(self, group: Sequence[Frame], acks: _Acks, inbox: str) -> None:
        places = [place for place, ack in enumerate(acks.came) if ack is None]
        for start in range(0, len(places), BLOCK):
            if not await acks.wait(at_most=len(places) - start + WINDOW):
                return
            block = places[start : start + BLOCK]
            await self._write([_command(group[place], f"{inbox}.{place}") for place in block])

    async def _back_up(self) -> None:
        try:
            await asyncio.wait_for(self._link.wait_up(), SILENCE_S)
        except TimeoutError:
            raise Temporary("The link to NATS broke: send all again when it is back.") from None

    # -------------------------------------------------------------------------------- the wire

    def _new_acks(self, size: int) -> tuple[str, _Acks]:
        number, acks = str(next(self._numbers)), _Acks(size)
        self._acks[number] = acks
        return number, acks

    async def _write(self, commands: Sequence[bytes]) -> None:
        client = self._link.client
        await client._send_command(b"".join(commands))
        await client._flush_pending()

    async def _deliver(self, msg: Msg) -> None:
        _, number, place = msg.subject.rsplit(".", 2)
        acks = self._acks.get(number)
        if acks is not None and not (msg.headers and "Status" in msg.headers):
            acks.take(int(place), msg.data)


def check_sizes(frames: Sequence[Frame], client: Client) -> None:
    """Raises Invalid for a message beyond the server's limit, which would close the connection on everybody who shares it."""
    for frame in frames:
        if frame.size > client.max_payload:
            raise Invalid(f"A message of {len(frame.payload)} bytes to {frame.subject} is too large.")


def groups(frames: Sequence[Frame]) -> Iterator[Sequence[Frame]]:
    """Runs of messages that may go together: of one stream, and not more than a batch holds."""
    start, size = 0, 0
    for place, frame in enumerate(frames):
        full = place - start >= BATCH_MESSAGES or size + frame.size > BATCH_BYTES
        if place > start and (full or frame.stream != frames[start].stream):
            yield frames[start:place]
            start, size = place, 0
        size += frame.size
    if frames:
        yield frames[start:]


def batch_commands(group: Sequence[Frame], inbox: str) -> list[bytes]:
    """The batch on the wire: the first message and the one that commits are answered, the others are not."""
    batch_id, last = secrets.token_hex(8), len(group)
    replies = {1: f"{inbox}.{_FIRST}", last: f"{inbox}.{_COMMIT}"}
    commands = []
    for number, frame in enumerate(group, 1):
        lines = f"Nats-Batch-Id: {batch_id}\r\nNats-Batch-Sequence: {number}\r\n"
        if number == last:
            lines += "Nats-Batch-Commit: 1\r\n"
        commands.append(
            hpub_cmd(frame.subject, replies.get(number, ""), frame.head_with(lines), frame.payload)
        )
    return commands


def read_batch_ack(payload: bytes | None, size: int) -> list[Stored]:
    """Where each message of a batch is; nothing when it was refused."""
    said: dict[str, Any] = json.loads(payload or b"{}")
    if said.get("count") != size:
        return []
    first = said["seq"] - size + 1
    return [Stored(said["stream"], first + place) for place in range(size)]


def _command(frame: Frame, reply: str) -> bytes:
    return hpub_cmd(frame.subject, reply, frame.head, frame.payload)
