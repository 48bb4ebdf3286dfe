"""What stands in the middle of `MemoryBus`es: who listens, who serves, what is stored, who leads."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from lattice.bus_handling import Fate, Raw, hear
from lattice.bus_wire import Answer, Wire, map_subject, matches
from lattice.clock import Clock
from lattice.contracts.catalogue import GIVEN_UP, Channel
from lattice.contracts.messages import DeadLetter
from lattice.contracts.messages import GivenUp as Advisory
from lattice.contracts.streams import DLQ, Consumer, Stream
from lattice.errors import LatticeError, Temporary
from lattice.testing.streams import MemoryConsumer, MemoryStream


class MemoryBroker:
    """One world of messages, shared by the buses that are given it."""

    def __init__(self, clock: Clock, *, seed: int = 0) -> None:
        self.clock, self.chance = clock, random.Random(seed)
        self.duplicates = False
        self.reorder = False
        self.listeners: list[Listener] = []
        self.servers: list[Server] = []
        self.leases: dict[str, tuple[str, float]] = {}
        self.dead_letters: list[DeadLetter] = []
        self._streams: dict[str, MemoryStream] = {}
        self._sent: dict[str, list[Wire]] = defaultdict(list)

    def stream(self, stream: Stream) -> MemoryStream:
        """The stream of that name, made when it is not there yet."""
        return self._streams.setdefault(stream.name, MemoryStream(stream, self.clock))

    def consumer(self, consumer: Consumer) -> MemoryConsumer:
        """The durable consumer, made when it is not there yet; its stream is one of those declared or used before."""
        return self._streams[consumer.stream].consumer(consumer, self._pick, self._give_up)

    def record(self, channel: Channel[Any], wire: Wire) -> None:
        self._sent[channel.name].append(wire)

    def sent(self, channel: Channel[Any]) -> list[Wire]:
        return self._sent[channel.name]

    def send(self, wire: Wire, *, stream_seq: int | None = None) -> None:
        """Let everybody hear it who listens to its subject now; of each queue group, one."""
        for listener in self._chosen(wire.subject):
            for _ in range(2 if self.duplicates else 1):
                listener.offer(wire, stream_seq)

    def republish(self, stream: MemoryStream, wire: Wire, seq: int) -> None:
        """Send what a stream sends on once it has stored a message."""
        if stream.stream.republish is not None:
            subject = map_subject(stream.stream.republish, wire.subject)
            self.send(Wire(subject, wire.payload, wire.headers), stream_seq=seq)

    def server_for(self, subject: str) -> Server | None:
        """One of those who serve this subject, chosen by chance."""
        serving = [server for server in self.servers if matches(server.pattern, subject)]
        return self.chance.choice(serving) if serving else None

    def _give_up(self, raw: Raw, consumer: Consumer, reason: str) -> None:
        """Keep a dead letter, and leave the advisory that the server would publish."""
        self.dead_letters.append(
            DeadLetter(
                stream=consumer.stream,
                consumer=consumer.durable,
                stream_seq=raw.stream_seq,
                deliveries=raw.deliveries,
                subject=raw.subject,
                reason=reason,
            )
        )
        advisory = Advisory(
            stream=consumer.stream,
            consumer=consumer.durable,
            stream_seq=raw.stream_seq,
            deliveries=raw.deliveries,
            reason=reason,
        )
        subject = GIVEN_UP.address.subject(
            kind="MSG_TERMINATED", stream=consumer.stream, consumer=consumer.durable
        )
        self.stream(DLQ).append(Wire(subject, advisory.model_dump_json().encode(), {}))

    def wake(self) -> None:
        """Let everybody who waits look again."""
        for consumer in self._consumers():
            consumer.wake()

    async def settle(self, timeout_s: float) -> None:
        """Wait until nothing is under way."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._busy():
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise TimeoutError(f"still busy after {timeout_s:g} s: {', '.join(self._busy())}") from None

    def _pick(self, waiting: int) -> int:
        return self.chance.randrange(waiting) if self.reorder else 0

    def _busy(self) -> list[str]:
        listeners = [listener.pattern for listener in self.listeners if listener.busy]
        return listeners + [made.consumer.durable for made in self._consumers() if made.busy]

    def _consumers(self) -> list[MemoryConsumer]:
        return [made for stream in self._streams.values() for made in stream.consumers.values()]

    def _chosen(self, subject: str) -> list[Listener]:
        groups: dict[str, list[Listener]] = defaultdict(list)
        chosen = []
        for listener in self.listeners:
            if not listener.hears() or not matches(listener.pattern, subject):
                continue
            if listener.queue is None:
                chosen.append(listener)
            else:
                groups[listener.queue].append(listener)
        return chosen + [self.chance.choice(members) for members in groups.values()]


@dataclass(eq=False)
class Listener:
    """One subscription: hears messages one after the other."""

    broker: MemoryBroker
    pattern: str
    channel: Channel[Any]
    handler: Callable[[Any], Awaitable[None]]
    queue: str | None
    hears: Callable[[], bool]
    _pending: list[tuple[Wire, int | None]] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None
    _handling: bool = False
    _stopped: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def busy(self) -> bool:
        return self._handling or bool(self._pending)

    def start(self) -> None:
        self.broker.listeners.append(self)
        self._task = asyncio.create_task(self._listen())

    def offer(self, wire: Wire, stream_seq: int | None) -> None:
        place = (
            self.broker.chance.randint(0, len(self._pending)) if self.broker.reorder else len(self._pending)
        )
        self._pending.insert(place, (wire, stream_seq))
        self._wake.set()

    async def stop(self) -> None:
        if self in self.broker.listeners:
            self.broker.listeners.remove(self)
        self._stopped = True
        self._pending.clear()
        self._wake.set()
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait({self._task})

    async def _listen(self) -> None:
        while not self._stopped:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                wire, stream_seq = self._pending.pop(0)
                self._handling = True
                await hear(
                    self.channel,
                    self.handler,
                    wire.subject,
                    wire.payload,
                    wire.headers,
                    stream_seq=stream_seq,
                )
                self._handling = False


@dataclass(eq=False)
class Server:
    """One replica that answers a request."""

    broker: MemoryBroker
    pattern: str
    respond: Callable[[str, bytes], Awaitable[Answer | LatticeError]]
    places: asyncio.Semaphore
    _running: set[asyncio.Task[Any]] = field(default_factory=set)

    async def answer(self, subject: str, payload: bytes) -> Answer | LatticeError:
        """The reply; the work goes on when whoever asked stops waiting."""
        task = asyncio.create_task(self._within_places(subject, payload))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def stop(self) -> None:
        if self in self.broker.servers:
            self.broker.servers.remove(self)
        others = self._running - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)

    async def _within_places(self, subject: str, payload: bytes) -> Answer | LatticeError:
        async with self.places:
            return await self.respond(subject, payload)


@dataclass(eq=False)
class Puller:
    """One process that works through a durable consumer."""

    state: MemoryConsumer
    handle: Callable[[Raw], Awaitable[Fate]]
    hears: Callable[[], bool]
    longest_pause_s: float
    _workers: list[asyncio.Task[None]] = field(default_factory=list)
    _stopped: bool = False

    def start(self, concurrency: int) -> None:
        self._workers = [asyncio.create_task(self._work()) for _ in range(concurrency)]

    async def stop(self) -> None:
        self._stopped = True
        self.state.wake()
        others = set(self._workers) - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)

    async def _work(self) -> None:
        while not self._stopped:
            raw = self.state.take() if self.hears() else None
            if raw is None:
                await self.state.wait()
            else:
                self.state.settle(raw, await self.handle(raw), self.longest_pause_s)


@dataclass(eq=False)
class MemoryLease:
    """A role held until `ttl_s` after its last renewal, by the broker's clock."""

    broker: MemoryBroker
    role: str
    holder: str
    ttl_s: float
    connected: Callable[[], bool]
    _mine: bool = False

    async def renew(self) -> bool:
        if not self.connected():
            raise Temporary("There is no link to NATS: the lease could not be renewed.")
        # Whoever let it lapse has lost it, even if nobody took it since.
        self._mine = self._holder() == (self._key if self._mine else None)
        if self._mine:
            self.broker.leases[self.role] = (self._key, self.broker.clock.monotonic_s() + self.ttl_s)
        return self._mine

    async def release(self) -> None:
        if self._mine and self._holder() == self._key:
            del self.broker.leases[self.role]
        self._mine = False

    def _holder(self) -> str | None:
        key, until_s = self.broker.leases.get(self.role, ("", 0.0))
        return key if until_s > self.broker.clock.monotonic_s() else None

    @property
    def _key(self) -> str:
        return f"{self.holder}/{id(self)}"
