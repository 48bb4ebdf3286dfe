"""The link to NATS: one connection after another, for ever.

nats-py can reconnect by itself, but not as we need it: it closes for good on most errors of the server (an expired JWT is one), tries a
refused login for ever without a word, knows no jitter, and delivers after a reconnect what its caller was told had failed.  So its own
reconnecting is off: whenever a connection ends, for whatever reason, this link makes a new client, with files read anew, and subscribes to
everything again.  What is sent while there is no connection fails at once, and the caller decides.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import nats.errors
from loguru import logger
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription

from lattice.bus_client import Connection, is_refusal, reached, throw_away
from lattice.bus_complaints import Complaints
from lattice.cancelling import cancel_and_wait
from lattice.errors import LatticeError, Temporary
from lattice.metrics import every_process as metrics
from lattice.settings import BusSettings

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 15.0
# A connection that lived this long was good: the next pause starts small again.
STEADY_AFTER_S = 10.0
# Between two attempts to tell one who asked to be told of a link.
TELL_AGAIN_S = 0.5

Deliver = Callable[[Msg], Awaitable[None]]
Callback = Callable[[], Awaitable[None]]


class Wanted:
    """A subscription that outlives connections."""

    def __init__(self, link: Link, subject: str, queue: str, deliver: Deliver) -> None:
        self._link, self._subject, self._queue, self._deliver = link, subject, queue, deliver
        self._on: tuple[Client, NatsSubscription] | None = None

    async def attach(self, client: Client) -> None:
        """Subscribe on this connection, once."""
        if self._on is None or self._on[0] is not client:
            made = await client.subscribe(self._subject, queue=self._queue, cb=self._deliver)
            self._on = (client, made)

    async def stop(self) -> None:
        """Hear nothing more; what has arrived already is still delivered."""
        self._link.forget(self)
        if self._on is not None and not self._on[0].is_closed:
            with suppress(nats.errors.Error):
                await self._on[1].unsubscribe()


class Link:
    """Owns the client of the moment.  `on_up` runs when a connection is ready, with every subscription made, and again where that
    raised Temporary; `on_down` when it ended."""

    def __init__(self, settings: BusSettings, *, identity: str, inbox: str) -> None:
        self.inbox = inbox
        self.problem = "not connected yet"
        self.on_up: list[Callback] = []
        self.on_down: list[Callable[[], None]] = []
        self.on_refused: list[Callback] = []
        self._settings, self._identity = settings, identity
        self._client: Client | None = None
        self._wanted: list[Wanted] = []
        self._complaints = Complaints()
        self._up, self._hurry = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -------------------------------------------------------------------------------- use

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    @property
    def client(self) -> Client:
        """The client of the moment.  Raises Temporary when there is none."""
        if self._client is None or not self._client.is_connected:
            raise Temporary(f"There is no link to NATS ({self.problem}): try again when it is back.")
        return self._client

    async def wait_up(self) -> Client:
        """The client as soon as there is one."""
        while not self.connected:
            await self._up.wait()
            await asyncio.sleep(0 if self.connected else 0.01)
        return self.client

    async def subscribe(self, subject: str, deliver: Deliver, *, queue: str = "") -> Wanted:
        """Hear a subject on this and every later connection: from now on, where there is one.  `deliver` must return quickly."""
        wanted = Wanted(self, subject, queue, deliver)
        self._wanted.append(wanted)
        if self.connected:
            with suppress(nats.errors.Error, OSError, TimeoutError):  # it just ended: the next one subscribes
                await wanted.attach(self.client)
                await reached(self.client)
        return wanted

    def forget(self, wanted: Wanted) -> None:
        if wanted in self._wanted:
            self._wanted.remove(wanted)

    async def send(
        self, subject: str, payload: bytes, *, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Hand a message to the connection.  Raises Temporary without one, LatticeError for a message that cannot be sent."""
        try:
            await self.client.publish(subject, payload, reply=reply, headers=headers)
        except (nats.errors.MaxPayloadError, nats.errors.BadSubjectError) as error:
            raise LatticeError(
                f"A message of {len(payload)} bytes to {subject} cannot be sent: {error}."
            ) from error
        except (nats.errors.Error, OSError) as error:
            raise Temporary(f"The link to NATS just broke ({error}): try again.") from error

    async def renew(self) -> None:
        """Connect anew, now, with certificate and JWT as they are in their files."""
        self._hurry.set()
        if self._client is not None:
            await throw_away(self._client)

    # -------------------------------------------------------------------------------- life

    def start(self) -> None:
        self._task = asyncio.create_task(self._live(), name="nats link")

    async def close(self) -> None:
        if self._task is not None:
            await cancel_and_wait([self._task])
        for task in tuple(self._tasks):
            task.cancel()

    async def _live(self) -> None:
        failures = 0
        while True:
            try:
                lived_s = await self._one_connection()
                failures = 0 if lived_s > STEADY_AFTER_S else failures + 1
            except Exception as error:
                failures += 1
                self._failed(error)
            await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        longest_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 16))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), random.uniform(0.0, longest_s))
        self._hurry.clear()

    async def _one_connection(self) -> float:
        """Connect, stay until it ends; how long it lived."""
        loop, connection = asyncio.get_running_loop(), Connection(self._on_error)
        client = connection.client
        try:
            await connection.open(self._settings, identity=self._identity, inbox=self.inbox)
            await self._attach_all(client)
            self._came(client)
            began_s = loop.time()
            self.problem = await connection.ended()
            return loop.time() - began_s
        finally:
            self._gone()
            await throw_away(client)

    async def _attach_all(self, client: Client) -> None:
        """Subscribe to all that is wanted, also to what comes to be wanted meanwhile: it finds no connection yet, and trusts this one."""
        attached: list[Wanted] = []
        while missing := [wanted for wanted in self._wanted if wanted not in attached]:
            for wanted in missing:
                await wanted.attach(client)
            attached += missing
            await reached(client)

    def _came(self, client: Client) -> None:
        self._client, self.problem = client, ""
        self._up.set()
        metrics.LINK_UP.set(1)
        metrics.LINKS_MADE.inc()
        logger.info("link to NATS is up: {}", self._identity)
        for callback in self.on_up:
            self.tell_up(callback)

    def tell_up(self, callback: Callback) -> None:
        """Tell one of the link of the moment, on its own."""
        self.spawn(partial(self._carry_through, callback, self._client))

    async def _carry_through(self, callback: Callback, client: Client | None) -> None:
        """Until it went through or this connection is over: a server that has just started refuses some requests, and without a second
        attempt nobody would ask before the next connection."""
        while self._client is client:
            try:
                await callback()
                return
            except Temporary as error:
                logger.warning("what follows a new link is tried again: {}", error.detail)
                await asyncio.sleep(TELL_AGAIN_S)

    def _gone(self) -> None:
        if self._client is None:
            return
        self._client = None
        self._up.clear()
        metrics.LINK_UP.set(0)
        logger.warning("link to NATS is down: {}", self.problem)
        for callback in self.on_down:
            callback()

    def spawn(self, callback: Callback) -> None:
        """Run a callback on its own; an error is logged."""
        task = asyncio.create_task(_logged(callback))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _failed(self, error: Exception) -> None:
        self.problem = str(error) or type(error).__name__
        if is_refusal(self.problem):
            metrics.LINK_PROBLEMS.labels("login").inc()
            for callback in self.on_refused:
                self.spawn(callback)
        self._complaints.say("connect", f"cannot connect to NATS: {self.problem}")

    async def _on_error(self, error: Exception) -> None:
        text = str(error)
        if isinstance(error, nats.errors.SlowConsumerError):
            metrics.LINK_PROBLEMS.labels("slow_consumer").inc()
            self._complaints.say(
                f"slow {error.subject}", f"too slow for {error.subject}: a message was dropped"
            )
        elif "permissions violation" in text.lower():
            # A refused SUB or PUB raises nothing anywhere: this line is all that tells.
            metrics.LINK_PROBLEMS.labels("permission").inc()
            self._complaints.say(text, f"NATS refused: {text}")
        elif self.connected:  # what goes wrong before is told by the attempt itself
            metrics.LINK_PROBLEMS.labels("other").inc()
            self._complaints.say("other", f"NATS client: {text or type(error).__name__}")


async def _logged(callback: Callback) -> None:
    try:
        await callback()
    except Exception:
        logger.exception("a callback of the link failed")
