"""A bus in memory: it keeps the promises of `messaging.Bus` and misbehaves on demand.

Messages are written and read as they are over NATS, so a handler sees exactly what it would see there.  One `MemoryBus` may serve all parts
of a test; with a `MemoryBroker` of their own, several share one world and can be disconnected one by one.

    bus.disconnect(); await bus.reconnect()      the link is down and comes back
    bus.broker.duplicates = True                 every message arrives twice
    bus.broker.reorder = True                    messages arrive in another order (repeatable: `seed`)
    bus.lose_acks = 2                            the next two appends are stored, but their sender is told otherwise
    await bus.settle()                           wait until nothing is under way any more
    bus.sent(channel), bus.dead_letters          what was said, and what nobody could handle
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from lattice.bus_handling import Fate, Raw, for_subject, handle, respond
from lattice.bus_wire import Answer, Wire, check_msg_id, decode, decode_reply, encode, matches, stored_address
from lattice.clock import Clock
from lattice.contracts.catalogue import Channel, Rpc
from lattice.contracts.messages import DeadLetter
from lattice.contracts.nouns import Noun
from lattice.contracts.streams import Consumer, Stream
from lattice.errors import DeadlineExceeded, Invalid, LatticeError, Temporary, from_wire, to_wire
from lattice.ids import new_id
from lattice.messaging import Handler, Kept, Lease, Outgoing, Received, Stored, Subscription
from lattice.metrics import every_process as metrics
from lattice.testing.broker import Listener, MemoryBroker, MemoryLease, Puller, Server
from lattice.testing.clock import ManualClock
from lattice.testing.streams import MemoryStream

P = TypeVar("P", bound=Noun)
Q = TypeVar("Q", bound=Noun)
R = TypeVar("R", bound=Noun)

_RETRIED_AFTER_S = 0.01
# What a NATS server takes by default.
MAX_PAYLOAD_BYTES = 2**20


class MemoryBus:
    """`messaging.Bus` without a network.  Pauses before another delivery are cut to `longest_pause_s`, so tests need not wait."""

    def __init__(
        self,
        broker: MemoryBroker | None = None,
        *,
        identity: str = "test",
        clock: Clock | None = None,
        seed: int = 0,
        longest_pause_s: float = _RETRIED_AFTER_S,
    ) -> None:
        self.broker = broker or MemoryBroker(clock or ManualClock(), seed=seed)
        self.identity = identity
        self.lose_acks = 0
        self._longest_pause_s = longest_pause_s
        self._connected = True
        self._callbacks: list[Callable[[], Awaitable[None]]] = []
        self._background: set[asyncio.Task[Any]] = set()

    # -------------------------------------------------------------------------------- the link

    @property
    def connected(self) -> bool:
        return self._connected

    async def ready(self) -> str:
        return "" if self._connected else "no link to NATS"

    def on_connected(self, callback: Callable[[], Awaitable[None]]) -> None:
        self._callbacks.append(callback)
        if self._connected:
            self._spawn(self._carry_through(callback))

    def disconnect(self) -> None:
        """Cut the link: nothing is sent or heard until `reconnect`."""
        self._connected = False

    async def reconnect(self) -> None:
        """Let the link come back; returns when everybody who asked to be told has been."""
        self._connected = True
        self.broker.wake()
        await asyncio.gather(*(self._carry_through(callback) for callback in self._callbacks))

    async def _carry_through(self, callback: Callable[[], Awaitable[None]]) -> None:
        while self._connected:
            try:
                await callback()
                return
            except Temporary:
                await asyncio.sleep(self._longest_pause_s)

    def _must_be_connected(self) -> None:
        if not self._connected:
            raise Temporary("There is no link to NATS: try again when it is back.")

    def _spawn(self, work: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # -------------------------------------------------------------------------------- sending

    async def publish(self, channel: Channel[P], message: P, *, body: bytes = b"", **tokens: str) -> None:
        self._must_be_connected()
        self._send(channel, self._wire(channel, message, body, new_id("ms"), tokens))
        await asyncio.sleep(0)

    async def append(
        self, channel: Channel[P], message: P, *, msg_id: str, body: bytes = b"", **tokens: str
    ) -> Stored:
        return await self._append(channel, self._wire(channel, message, body, check_msg_id(msg_id), tokens))

    async def _append(self, channel: Channel[Any], wire: Wire) -> Stored:
        self._must_be_connected()
        stored = self._store(channel, wire)
        await asyncio.sleep(0)
        if self.lose_acks > 0:
            self.lose_acks -= 1
            raise Temporary("No acknowledgement came: try again with the same id.")
        return stored

    async def append_all(self, messages: Iterable[Outgoing[P]]) -> list[Stored]:
        wires = [(each.channel, self._outgoing(each)) for each in messages]  # all, before any is sent
        return [await self._append(channel, wire) for channel, wire in wires]

    def _outgoing(self, each: Outgoing[P]) -> Wire:
        wire = self._wire(each.channel, each.message, each.body, check_msg_id(each.msg_id), each.tokens)
        if len(wire.payload) > MAX_PAYLOAD_BYTES:
            raise Invalid(f"A message of {len(wire.payload)} bytes to {wire.subject} is too large.")
        return wire

    async def append_newest(
        self, channel: Channel[P], message: P, *, order: Callable[[P], tuple[int, ...]], **tokens: str
    ) -> bool:
        newest = await self.last(channel, **tokens)
        if newest is not None and order(newest.message) >= order(message):
            return False
        self._store(channel, self._wire(channel, message, b"", new_id("ms"), tokens))
        return True

    def _wire(
        self, channel: Channel[P], message: P, body: bytes, msg_id: str, tokens: dict[str, str]
    ) -> Wire:
        return encode(
            channel,
            message,
            tokens,
            body=body,
            source=self.identity,
            msg_id=msg_id,
            at=self.broker.clock.now(),
        )

    def _send(self, channel: Channel[Any], wire: Wire) -> None:
        metrics.PUBLISHED.labels(channel.name).inc()
        self.broker.record(channel, wire)
        self.broker.send(wire)

    def _store(self, channel: Channel[Any], wire: Wire) -> Stored:
        self._send(channel, wire)
        stored = self._stream(channel).append(wire)
        if not stored.duplicate:
            self.broker.republish(self._stream(channel), wire, stored.seq)
        return stored

    def _stream(self, channel: Channel[Any]) -> MemoryStream:
        if channel.stream is None:
            raise ValueError(f"{channel.name} has no stream: publish it")
        return self.broker.stream(channel.stream)

    # -------------------------------------------------------------------------------- hearing

    async def subscribe(
        self, channel: Channel[P], handler: Handler[P], *, queue: str | None = None, **tokens: str
    ) -> Subscription:
        listener = Listener(
            self.broker,
            channel.address.pattern(**tokens),
            channel,
            handler,
            queue,
            hears=lambda: self._connected,
        )
        listener.start()
        return listener

    async def last(self, channel: Channel[P], **tokens: str) -> Received[P] | None:
        self._must_be_connected()
        entry = self._stream(channel).last(stored_address(channel).pattern(**tokens))
        if entry is None:
            return None
        return decode(channel, entry.subject, entry.payload, entry.headers, stream_seq=entry.seq)

    async def newest_of_each(self, channel: Channel[P]) -> list[Received[P]]:
        self._must_be_connected()
        pattern = stored_address(channel).pattern()
        entries = sorted(self._stream(channel).entries.items())
        return [
            decode(channel, entry.subject, entry.payload, entry.headers, stream_seq=seq)
            for seq, entry in entries
            if matches(pattern, entry.subject)
        ]

    async def kept(self, stream: Stream, seq: int) -> Kept | None:
        self._must_be_connected()
        entry = self.broker.stream(stream).entries.get(seq)
        return None if entry is None else Kept(entry.subject, entry.payload, dict(entry.headers))

    async def consume(
        self, consumer: Consumer, channel: Channel[P], handler: Handler[P], *, concurrency: int = 1
    ) -> Subscription:
        self._stream(channel)

        async def consumed(raw: Raw) -> Fate:
            if self.broker.duplicates:
                await handle(raw, channel, handler, consumer)
            return await handle(raw, channel, handler, consumer)

        puller = Puller(
            self.broker.consumer(consumer), consumed, lambda: self._connected, self._longest_pause_s
        )
        puller.start(concurrency)
        return puller

    # -------------------------------------------------------------------------------- requests

    async def ask(self, rpc: Rpc[Q, R], request: Q, *, timeout_s: float | None = None, **tokens: str) -> R:
        self._must_be_connected()
        subject = rpc.address.subject(**tokens)
        server = self.broker.server_for(subject)
        if server is None:
            raise Temporary(f"Nobody answers {subject} right now: try again shortly.")
        try:
            said = await asyncio.wait_for(
                server.answer(subject, request.model_dump_json().encode()), timeout_s or rpc.timeout_s
            )
        except TimeoutError:
            raise DeadlineExceeded(f"{rpc.name} was not answered in time; the work may go on.") from None
        if isinstance(said, LatticeError):
            raise from_wire(to_wire(said))
        return decode_reply(rpc, said.payload, said.headers)

    async def serve(
        self, rpc: Rpc[Q, R], handler: Callable[..., Awaitable[R]], *, concurrency: int = 64, **tokens: str
    ) -> Subscription:
        async def answer(subject: str, payload: bytes) -> Answer | LatticeError:
            return await respond(rpc, for_subject(rpc, handler, subject), payload, {})

        server = Server(self.broker, rpc.address.pattern(**tokens), answer, asyncio.Semaphore(concurrency))
        self.broker.servers.append(server)
        return server

    # -------------------------------------------------------------------------------- topology and leases

    async def ensure_topology(self, streams: Iterable[Stream], consumers: Iterable[Consumer]) -> None:
        self._must_be_connected()
        for stream in streams:
            self.broker.stream(stream)
        for consumer in consumers:
            self.broker.consumer(consumer)

    async def lease(self, role: str, holder: str, *, ttl_s: float) -> Lease | None:
        self._must_be_connected()
        lease = MemoryLease(self.broker, role, holder, ttl_s, lambda: self._connected)
        return lease if await lease.renew() else None

    # -------------------------------------------------------------------------------- for tests

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """What consumers gave up."""
        return self.broker.dead_letters

    def sent(self, channel: Channel[P]) -> list[P]:
        """Every message of a channel that was published or appended, oldest first; those that a stream dropped as repeated, too."""
        return [
            decode(channel, wire.subject, wire.payload, wire.headers).message
            for wire in self.broker.sent(channel)
        ]

    async def settle(self, timeout_s: float = 10.0) -> None:
        """Wait until every message has been handled.  Raises TimeoutError that names what is still busy."""
        await self.broker.settle(timeout_s)
