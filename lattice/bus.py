"""Lattice's bus over NATS: what `messaging.Bus` promises, on top of a link that comes back by itself.

    async with NatsBus(settings.bus, identity="registry") as bus:
        await bus.ensure_topology(STREAMS, CONSUMERS)
        await bus.serve(GET_NODE, handlers.get_node)
        …

Entering waits for nothing: subscriptions, servers and consumers may be made before NATS is there, and work as soon as it is.  A node uses the
same class with its node id as identity; what it may do, its permissions say.  This module and its siblings `bus_…` are the only ones that
know nats-py.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeVar

from nats.aio.msg import Msg

from lattice import __version__
from lattice.bus_append import Appender
from lattice.bus_bulk import Bulk
from lattice.bus_frames import Framer
from lattice.bus_handling import Fate, Raw, for_subject, handle, hear, respond
from lattice.bus_hear import Hearing
from lattice.bus_lease import NatsLease
from lattice.bus_link import Callback, Link
from lattice.bus_newest import Newest
from lattice.bus_pull import PullLoop
from lattice.bus_read import by_number, last_by_subject, newest_of_each
from lattice.bus_requests import Reply, Requests, headers_of
from lattice.bus_serve import Answering, Services
from lattice.bus_topology import ensure
from lattice.bus_wire import (
    ERROR,
    Answer,
    Wire,
    check_msg_id,
    cloud_event,
    context_headers,
    decode,
    decode_error,
    decode_reply,
    encode,
    stored_address,
    to_json,
)
from lattice.clock import Clock, SystemClock
from lattice.contracts.catalogue import Channel, Rpc
from lattice.contracts.nouns import Noun
from lattice.contracts.permissions import inbox_prefix
from lattice.contracts.streams import Consumer, Stream
from lattice.errors import DeadlineExceeded, Invalid, LatticeError
from lattice.ids import NewId, new_id
from lattice.messaging import Handler, Kept, Lease, Outgoing, Received, Stored, Subscription
from lattice.metrics import every_process as metrics
from lattice.settings import BusSettings

P = TypeVar("P", bound=Noun)
Q = TypeVar("Q", bound=Noun)
R = TypeVar("R", bound=Noun)


class NatsBus:
    """`messaging.Bus` over NATS.  `replicas` is the number of servers that keep each stream."""

    def __init__(
        self,
        settings: BusSettings,
        *,
        identity: str,
        clock: Clock | None = None,
        ids: NewId = new_id,
        replicas: int = 1,
    ) -> None:
        self.identity = identity
        self._clock, self._new_id, self._replicas = clock or SystemClock(), ids, replicas
        self._link = Link(settings, identity=identity, inbox=inbox_prefix(identity))
        self._requests = Requests(self._link)
        self._appender = Appender(self._requests, self._link.wait_up)
        self._bulk = Bulk(self._link)
        self._services = Services(self._link, version=__version__)
        self._newest = Newest(self._requests, self._appender)
        self._link.on_down.append(self._newest.forget)

    # -------------------------------------------------------------------------------- the link

    async def __aenter__(self) -> NatsBus:
        await self._requests.start()
        await self._bulk.start()
        self._link.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._link.close()

    @property
    def connected(self) -> bool:
        return self._link.connected

    async def ready(self) -> str:
        return "" if self._link.connected else f"no link to NATS: {self._link.problem}"

    def on_connected(self, callback: Callback) -> None:
        self._link.on_up.append(callback)
        if self._link.connected:
            self._link.tell_up(callback)

    def on_refused(self, callback: Callback) -> None:
        """Call back whenever the server does not accept our JWT: it is expired or revoked.  A node then asks for a new one."""
        self._link.on_refused.append(callback)

    async def renew(self) -> None:
        """Use the certificate and JWT that the files hold now, by connecting anew."""
        await self._link.renew()

    # -------------------------------------------------------------------------------- sending

    async def publish(self, channel: Channel[P], message: P, *, body: bytes = b"", **tokens: str) -> None:
        wire = self._wire(channel, message, body, self._new_id("ms"), tokens)
        await self._link.send(wire.subject, wire.payload, headers=wire.headers)
        metrics.PUBLISHED.labels(channel.name).inc()

    async def append(
        self, channel: Channel[P], message: P, *, msg_id: str, body: bytes = b"", **tokens: str
    ) -> Stored:
        stored = await self._appender.append(self._wire(channel, message, body, check_msg_id(msg_id), tokens))
        metrics.PUBLISHED.labels(channel.name).inc()
        return stored

    async def append_all(self, messages: Iterable[Outgoing[P]]) -> list[Stored]:
        outgoing, framer = list(messages), Framer(self.identity, self._clock.now())
        stored = await self._bulk.append([framer.frame(each) for each in outgoing])
        for name, count in Counter(each.channel.name for each in outgoing).items():
            metrics.PUBLISHED.labels(name).inc(count)
        return stored

    async def append_newest(
        self, channel: Channel[P], message: P, *, order: Callable[[P], tuple[int, ...]], **tokens: str
    ) -> bool:
        def wire() -> Wire:
            return self._wire(channel, message, b"", self._new_id("ms"), tokens)

        added = await self._newest.put(channel, message, order, wire)
        if added:
            metrics.PUBLISHED.labels(channel.name).inc()
        return added

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
            at=self._clock.now(),
        )

    # -------------------------------------------------------------------------------- hearing

    async def subscribe(
        self, channel: Channel[P], handler: Handler[P], *, queue: str | None = None, **tokens: str
    ) -> Subscription:
        async def handle_one(msg: Msg) -> None:
            headers = headers_of(msg)
            seq = headers.get("Nats-Sequence")  # where a stream republished it
            await hear(
                channel,
                handler,
                msg.subject,
                msg.data,
                headers,
                stream_seq=int(seq) if seq else None,
            )

        hearing = Hearing(self._link, handle_one)
        await hearing.start(channel.address.pattern(**tokens), queue=queue or "")
        return hearing

    async def consume(
        self, consumer: Consumer, channel: Channel[P], handler: Handler[P], *, concurrency: int = 1
    ) -> Subscription:
        async def handle_one(raw: Raw) -> Fate:
            return await handle(raw, channel, handler, consumer)

        loop = PullLoop(self._link, consumer, handle_one, concurrency=concurrency)
        await loop.start()
        return loop

    async def last(self, channel: Channel[P], **tokens: str) -> Received[P] | None:
        pattern = stored_address(channel).pattern(**tokens)
        found = await last_by_subject(self._requests, _stream(channel).name, pattern)
        return None if found is None else _read(channel, *found)

    async def newest_of_each(self, channel: Channel[P]) -> list[Received[P]]:
        pattern = stored_address(channel).pattern()
        found = await newest_of_each(self._requests, _stream(channel).name, pattern)
        return [_read(channel, *each) for each in found]

    async def kept(self, stream: Stream, seq: int) -> Kept | None:
        return await by_number(self._requests, stream.name, seq)

    # -------------------------------------------------------------------------------- requests

    async def ask(self, rpc: Rpc[Q, R], request: Q, *, timeout_s: float | None = None, **tokens: str) -> R:
        began_s, outcome = time.perf_counter(), "ok"
        try:
            return await self._ask(rpc, request, timeout_s or rpc.timeout_s, tokens)
        except LatticeError as error:
            outcome = error.code
            raise
        finally:
            metrics.ASKED.labels(rpc.name, outcome).observe(time.perf_counter() - began_s)

    async def _ask(self, rpc: Rpc[Q, R], request: Q, timeout_s: float, tokens: dict[str, str]) -> R:
        headers = cloud_event(
            rpc.name,
            source=self.identity,
            event_id=self._new_id("ms"),
            at=self._clock.now(),
            binary=False,
        )
        try:
            reply = await self._requests.ask(
                rpc.address.subject(**tokens),
                to_json(request),
                headers=headers | context_headers(),
                timeout_s=timeout_s,
            )
        except DeadlineExceeded as error:
            raise DeadlineExceeded(
                f"{rpc.name} was not answered in {timeout_s:g} s; the work may go on."
            ) from error
        return _read_reply(rpc, reply)

    async def serve(
        self,
        rpc: Rpc[Q, R],
        handler: Callable[..., Awaitable[R]],
        *,
        concurrency: int = 64,
        **tokens: str,
    ) -> Subscription:
        async def answer(subject: str, payload: bytes, headers: Mapping[str, str]) -> Answer | LatticeError:
            return await respond(rpc, for_subject(rpc, handler, subject), payload, headers)

        answering = Answering(rpc, rpc.address.pattern(**tokens), answer, concurrency)
        await self._services.serve(answering)
        return answering

    # -------------------------------------------------------------------------------- topology and leases

    async def ensure_topology(self, streams: Iterable[Stream], consumers: Iterable[Consumer]) -> None:
        await ensure(self._requests, streams, consumers, replicas=self._replicas)

    async def lease(self, role: str, holder: str, *, ttl_s: float) -> Lease | None:
        lease = NatsLease(self._requests, self._appender.append, self._clock, role, holder, ttl_s)
        return lease if await lease.take() else None


def _stream(channel: Channel[Any]) -> Stream:
    if channel.stream is None:
        raise ValueError(f"{channel.name} has no stream")
    return channel.stream


def _read(channel: Channel[P], kept: Kept, seq: int) -> Received[P]:
    return decode(channel, kept.subject, kept.payload, kept.headers, stream_seq=seq)


def _read_reply(rpc: Rpc[Q, R], reply: Reply) -> R:
    if ERROR in reply.headers:
        raise decode_error(reply.headers[ERROR])
    try:
        return decode_reply(rpc, reply.payload, reply.headers)
    except Invalid as error:
        raise LatticeError(f"The answer to {rpc.name} cannot be read: {error}") from error
