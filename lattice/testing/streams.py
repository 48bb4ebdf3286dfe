"""Streams and durable consumers in memory, with JetStream's rules: repetitions dropped by message id, one message per subject where a
stream says so, work queues that forget what was handled, messages given up that leave an advisory behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lattice.bus_handling import Again, Fate, GivenUp, Raw
from lattice.bus_wire import Wire, map_subject, matches
from lattice.clock import Clock
from lattice.contracts.streams import Consumer, Stream
from lattice.messaging import MSG_ID, Stored

Pick = Callable[[int], int]
"""Which of so many waiting messages comes next."""

GiveUp = Callable[[Raw, Consumer, str], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a stream."""

    seq: int
    subject: str
    payload: bytes
    headers: dict[str, str]


class MemoryStream:
    """What a stream keeps."""

    def __init__(self, stream: Stream, clock: Clock) -> None:
        self.stream = stream
        self.entries: dict[int, Entry] = {}
        self.consumers: dict[str, MemoryConsumer] = {}
        self._clock = clock
        self._last_seq = 0
        self._seen: dict[str, tuple[int, float]] = {}

    def append(self, wire: Wire) -> Stored:
        """Keep a message, unless its id was seen within the duplicate window."""
        seen = self._seen.get(wire.headers.get(MSG_ID, ""))
        now_s = self._clock.monotonic_s()
        if seen is not None and now_s - seen[1] < self.stream.duplicate_window_s:
            return Stored(self.stream.name, seen[0], duplicate=True)
        entry = self._keep(wire)
        if MSG_ID in wire.headers:
            self._seen[wire.headers[MSG_ID]] = (entry.seq, now_s)
        for consumer in self.consumers.values():
            consumer.offer(entry)
        return Stored(self.stream.name, entry.seq)

    def last(self, pattern: str) -> Entry | None:
        """The newest message whose subject fits `pattern`."""
        return next((entry for entry in self._newest_first() if matches(pattern, entry.subject)), None)

    def consumer(self, consumer: Consumer, pick: Pick, give_up: GiveUp) -> MemoryConsumer:
        """The durable consumer of that name, made when it is not there yet."""
        if consumer.durable not in self.consumers:
            made = MemoryConsumer(consumer, self, pick, give_up)
            self.consumers[consumer.durable] = made
            for entry in tuple(self.entries.values()):
                made.offer(entry)
        return self.consumers[consumer.durable]

    def _keep(self, wire: Wire) -> Entry:
        self._last_seq += 1
        rule = self.stream.transform
        subject = wire.subject if rule is None else map_subject(rule, wire.subject)
        entry = Entry(self._last_seq, subject, wire.payload, dict(wire.headers))
        if self.stream.max_msgs_per_subject == 1:
            self.entries = {seq: kept for seq, kept in self.entries.items() if kept.subject != subject}
        self.entries[entry.seq] = entry
        return entry

    def _newest_first(self) -> Iterator[Entry]:
        return reversed(tuple(self.entries.values()))


@dataclass
class MemoryConsumer:
    """Which messages of a stream wait for somebody, and how often each was delivered."""

    consumer: Consumer
    stream: MemoryStream
    pick: Pick
    give_up: GiveUp
    waiting: list[int] = field(default_factory=list)
    unsettled: set[int] = field(default_factory=set)
    deliveries: dict[int, int] = field(default_factory=dict)
    pausing: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def offer(self, entry: Entry) -> None:
        """A new message of the stream; taken if it passes the filters."""
        if any(matches(pattern, entry.subject) for pattern in self.consumer.filter_subjects):
            self.put_back(entry.seq)

    def put_back(self, seq: int) -> None:
        """Let somebody have this message (again)."""
        self.unsettled.discard(seq)
        self.waiting.append(seq)
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        asyncio.get_running_loop().create_task(self._notify())

    def take(self) -> Raw | None:
        """The next message there is, if any."""
        while self.waiting:
            entry = self.stream.entries.get(self.waiting.pop(self.pick(len(self.waiting))))
            if entry is not None:
                return self._deliver(entry)
        return None

    async def wait(self) -> None:
        """Until something may have changed."""
        async with self._changed:
            await self._changed.wait()

    def settle(self, raw: Raw, fate: Fate, longest_pause_s: float) -> None:
        """Do what was decided about a delivered message."""
        self.unsettled.discard(raw.stream_seq)
        if isinstance(fate, Again):
            self.pausing += 1
            asyncio.get_running_loop().call_later(
                min(fate.pause_s, longest_pause_s), self._after_pause, raw.stream_seq
            )
            return
        if isinstance(fate, GivenUp):
            self.give_up(raw, self.consumer, fate.reason)
        if self.stream.stream.work_queue:
            self.stream.entries.pop(raw.stream_seq, None)

    @property
    def busy(self) -> bool:
        """Whether anything waits, is being handled, or pauses."""
        return bool(self.waiting or self.unsettled or self.pausing)

    def _deliver(self, entry: Entry) -> Raw:
        self.unsettled.add(entry.seq)
        self.deliveries[entry.seq] = self.deliveries.get(entry.seq, 0) + 1
        return Raw(entry.subject, entry.payload, entry.headers, entry.seq, self.deliveries[entry.seq])

    def _after_pause(self, seq: int) -> None:
        self.pausing -= 1
        self.put_back(seq)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
