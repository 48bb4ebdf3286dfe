"""What the parts of Lattice need from a bus, whatever carries it: `bus.NatsBus` does it over NATS, `testing.MemoryBus` in memory.

Handlers are coroutines.  An error of the tree in `errors` decides what happens to a message: `Temporary` is delivered again later,
`Invalid` is given up and goes to the dead letters, anything else is logged and delivered again until its deliveries are used up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from lattice.contracts.catalogue import Channel, Rpc
from lattice.contracts.nouns import Noun
from lattice.contracts.streams import Consumer, Stream

P = TypeVar("P", bound=Noun)
Q = TypeVar("Q", bound=Noun)
R = TypeVar("R", bound=Noun)

MSG_ID = "Nats-Msg-Id"


@dataclass(frozen=True, slots=True)
class Received(Generic[P]):
    """A message as it arrived.  `body` holds the bytes of a binary channel, else b""."""

    message: P
    subject: str
    tokens: dict[str, str]
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream_seq: int | None = None
    deliveries: int = 1

    @property
    def msg_id(self) -> str:
        """What the sender calls this message, the same for each time that it is sent or delivered; empty if it has no name."""
        return self.headers.get(MSG_ID, "")


@dataclass(frozen=True, slots=True)
class Stored:
    """The stream's word that a message is on disk."""

    stream: str
    seq: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as a stream keeps it, unread."""

    subject: str
    payload: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Outgoing(Generic[P]):
    """One of many messages to append in bulk."""

    channel: Channel[P]
    message: P
    msg_id: str
    tokens: dict[str, str]
    body: bytes = b""


Handler = Callable[[Received[P]], Awaitable[None]]


class Subscription(Protocol):
    """A running subscription, server or consumer."""

    async def stop(self) -> None:
        """Take no more messages and wait for the handlers that run."""


class Lease(Protocol):
    """A role held for a time; it is lost when it is not renewed."""

    async def renew(self) -> bool:
        """Hold it for another period; False when somebody else has it now."""

    async def release(self) -> None:
        """Give it up at once, so that a standby need not wait."""


class Bus(Protocol):
    """Publish, append, subscribe, ask, answer, consume, lead."""

    @property
    def connected(self) -> bool:
        """Whether the link is up right now."""

    async def ready(self) -> str:
        """A readiness check: why the bus cannot be used, in plain words, or ""."""

    def on_connected(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call back after each (re)connect; at once, too, if the link is up.  One that raises Temporary is called again while it is."""

    async def publish(self, channel: Channel[P], message: P, *, body: bytes = b"", **tokens: str) -> None:
        """Send to whoever listens now; nothing is kept.  Raises Temporary when the link is down."""

    async def append(
        self, channel: Channel[P], message: P, *, msg_id: str, body: bytes = b"", **tokens: str
    ) -> Stored:
        """Add to the channel's stream and return when it is on disk.  Repeating the same `msg_id` within the stream's
        duplicate window adds nothing.  Raises Temporary when no acknowledgement came: the message may be stored all the same,
        so try again with the same `msg_id`."""

    async def append_newest(
        self, channel: Channel[P], message: P, *, order: Callable[[P], tuple[int, ...]], **tokens: str
    ) -> bool:
        """Make `message` the one that the stream keeps for this subject, unless what is there is as new or newer by `order`.
        Returns whether it was added.  No number of the stream is kept by the caller: what is there decides."""

    async def append_all(self, messages: Iterable[Outgoing[P]]) -> list[Stored]:
        """Add many; returns when all are on disk (order kept).  Raises Temporary if any was not acknowledged."""

    async def newest_of_each(self, channel: Channel[P]) -> list[Received[P]]:
        """What the channel's stream keeps for each of its subjects, oldest first; for streams that keep one message per subject."""

    async def kept(self, stream: Stream, seq: int) -> Kept | None:
        """One message of a stream by its number, or None if the stream has it no more."""

    async def subscribe(
        self, channel: Channel[P], handler: Handler[P], *, queue: str | None = None, **tokens: str
    ) -> Subscription:
        """Hear what is sent from now on, also after reconnects.  `queue`: only one member of the group gets each message."""

    async def ask(self, rpc: Rpc[Q, R], request: Q, *, timeout_s: float | None = None, **tokens: str) -> R:
        """Ask and wait for the reply; raises the error that the server raised, Temporary when nobody serves,
        DeadlineExceeded when no reply came in `timeout_s` (default: the rpc's own)."""

    async def serve(
        self, rpc: Rpc[Q, R], handler: Callable[..., Awaitable[R]], *, concurrency: int = 64, **tokens: str
    ) -> Subscription:
        """Answer requests, in a queue group with the other replicas.  A request that cannot be read is answered with Invalid.  The handler
        takes the request, and where the rpc is `addressed` also the places of its subject by name."""

    async def consume(
        self, consumer: Consumer, channel: Channel[P], handler: Handler[P], *, concurrency: int = 1
    ) -> Subscription:
        """Work through a durable consumer's messages of `channel`, each acknowledged after its handler returned."""

    async def last(self, channel: Channel[P], **tokens: str) -> Received[P] | None:
        """The newest message kept for this subject, or None."""

    async def ensure_topology(self, streams: Iterable[Stream], consumers: Iterable[Consumer]) -> None:
        """Make streams and consumers as declared; idempotent, deletes nothing."""

    async def lease(self, role: str, holder: str, *, ttl_s: float) -> Lease | None:
        """Try to take a role; None when somebody holds it."""
