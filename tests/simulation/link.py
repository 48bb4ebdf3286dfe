"""One process's link to the bus, as it fails in the world: cut while answers are under way, or gone with its process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from lattice.bus_handling import Again, Fate, Raw
from lattice.contracts.catalogue import Channel, Rpc
from lattice.contracts.nouns import Noun
from lattice.contracts.streams import Consumer
from lattice.messaging import Handler, Subscription
from lattice.testing.broker import Listener, MemoryBroker, Puller, Server
from lattice.testing.bus import MemoryBus

P = TypeVar("P", bound=Noun)
Q = TypeVar("Q", bound=Noun)
R = TypeVar("R", bound=Noun)


class Link(MemoryBus):
    """A bus that loses what a broken link loses: core messages, answers, acknowledgements."""

    def __init__(
        self, broker: MemoryBroker, identity: str, chance: random.Random, never: asyncio.Event
    ) -> None:
        super().__init__(broker, identity=identity)
        self._never = (
            never  # kept by the world: what waits for it must not be collected while the world goes on
        )
        self.loss = 0.0
        self._chance = chance
        self._subscriptions: list[Any] = []
        self._answering: set[asyncio.Task[Any]] = set()
        self._in_hand: list[tuple[Puller, Raw]] = []

    async def publish(self, channel: Channel[P], message: P, *, body: bytes = b"", **tokens: str) -> None:
        if self.connected and self._chance.random() < self.loss:
            return
        await super().publish(channel, message, body=body, **tokens)

    async def subscribe(
        self, channel: Channel[P], handler: Handler[P], *, queue: str | None = None, **tokens: str
    ) -> Subscription:
        made = await super().subscribe(channel, handler, queue=queue, **tokens)
        self._subscriptions.append(made)
        return made

    async def consume(
        self, consumer: Consumer, channel: Channel[P], handler: Handler[P], *, concurrency: int = 1
    ) -> Subscription:
        made = await super().consume(consumer, channel, handler, concurrency=concurrency)
        assert isinstance(made, Puller)
        made.handle = self._kept_in_mind(made, made.handle)
        self._subscriptions.append(made)
        return made

    def _kept_in_mind(
        self, puller: Puller, handle: Callable[[Raw], Awaitable[Fate]]
    ) -> Callable[[Raw], Awaitable[Fate]]:
        async def handled(raw: Raw) -> Fate:
            self._in_hand.append((puller, raw))
            fate = await handle(raw)
            self._in_hand.remove((puller, raw))
            return fate if self.connected else Again(1.0)  # the acknowledgement is lost: it comes again

        return handled

    async def serve(
        self, rpc: Rpc[Q, R], handler: Callable[[Q], Awaitable[R]], *, concurrency: int = 64, **tokens: str
    ) -> Subscription:
        async def answer(request: Q) -> R:
            if not self.connected:
                await self._never.wait()
            task = asyncio.ensure_future(handler(request))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
            await asyncio.wait({task})
            if task.cancelled() or not self.connected:
                await self._never.wait()  # whoever asked runs into the deadline
            return task.result()

        made = await super().serve(rpc, answer, concurrency=concurrency, **tokens)
        self._subscriptions.append(made)
        return made

    def die(self) -> None:
        """The process is gone: nothing of it hears, answers or acknowledges any more."""
        self.disconnect()
        self._callbacks.clear()
        for task in (*self._answering, *self._background):
            task.cancel()
        for made in self._subscriptions:
            _end(self.broker, made)
        for puller, raw in self._in_hand:
            puller.state.put_back(raw.stream_seq)
        self._in_hand.clear()


def _end(broker: MemoryBroker, made: Any) -> None:
    if isinstance(made, Listener):
        if made in broker.listeners:
            broker.listeners.remove(made)
        if made._task is not None:
            made._task.cancel()
    elif isinstance(made, Server):
        if made in broker.servers:
            broker.servers.remove(made)
    elif isinstance(made, Puller):
        for worker in made._workers:
            worker.cancel()
