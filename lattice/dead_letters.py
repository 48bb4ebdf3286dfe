"""Dead letters: whatever a consumer gave up is kept for people, with the reason.

The server tells of each such message by an advisory, which the stream DLQ keeps.  The mover, which runs in the registry, takes each
advisory, reads the message from the stream it was in and appends both to `lattice.dlq.<stream>.<consumer>`.  A message that its stream has
no more (a work queue forgets what is given up, other streams keep only the newest) becomes a letter without body; its reason names the
subject.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from loguru import logger

from lattice.contracts.catalogue import DEAD_LETTER, GIVEN_UP
from lattice.contracts.messages import DeadLetter, GivenUp
from lattice.contracts.streams import ADVISORIES_BY_REGISTRY, STREAMS, Consumer, Stream
from lattice.errors import Invalid
from lattice.messaging import Bus, Kept, Received, Subscription
from lattice.metrics.declared import registry as declared
from lattice.metrics.instruments import counter

_DEAD_LETTERS = counter(declared.DEAD_LETTERS)

USED_UP = "its deliveries were used up"
# What the server says where a newer message of the subject took the place of one that was still being handled.
REPLACED = "Unacknowledged message was deleted"

OnMoved = Callable[[DeadLetter], Awaitable[None]]


def letter_for(advisory: GivenUp, original: Kept | None) -> DeadLetter:
    """What is kept for people about a message that was given up."""
    return DeadLetter(
        stream=advisory.stream,
        consumer=advisory.consumer,
        stream_seq=advisory.stream_seq,
        deliveries=advisory.deliveries,
        subject="" if original is None else original.subject,
        reason=advisory.reason or USED_UP,
    )


def is_replaced(advisory: GivenUp, stream: Stream) -> bool:
    """Whether nothing is lost: the stream keeps the newest of each subject, and a newer one came before this one was through."""
    return stream.max_msgs_per_subject == 1 and advisory.reason == REPLACED


def msg_id_of(advisory: GivenUp) -> str:
    """One letter per message and consumer, however often the advisory comes."""
    return f"dlq:{advisory.stream}:{advisory.consumer}:{advisory.stream_seq}"


class DeadLetterMover:
    """Turns advisories into dead letters.  `on_moved` hears of each, at least once: a place to record a fact."""

    def __init__(
        self,
        bus: Bus,
        *,
        streams: Iterable[Stream] = STREAMS,
        consumer: Consumer = ADVISORIES_BY_REGISTRY,
        on_moved: OnMoved | None = None,
    ) -> None:
        self._bus, self._consumer, self._on_moved = bus, consumer, on_moved
        self._streams = {stream.name: stream for stream in streams}

    async def start(self) -> Subscription:
        """Move letters until the subscription is stopped."""
        return await self._bus.consume(self._consumer, GIVEN_UP, self._move)

    async def _move(self, received: Received[GivenUp]) -> None:
        advisory = received.message
        if advisory.consumer == self._consumer.durable:
            # An advisory that we gave up ourselves: another letter about it would only come back here.
            logger.error("an advisory was given up: {}", advisory.reason or USED_UP)
            return
        stream = self._streams.get(advisory.stream)
        if stream is None:
            raise Invalid(f"There is no stream {advisory.stream}.")
        if is_replaced(advisory, stream):
            logger.debug(
                "{} had no time for a message of {} that is out of date", advisory.consumer, stream.name
            )
            return
        original = await self._bus.kept(stream, advisory.stream_seq)
        await self._keep(advisory, original)

    async def _keep(self, advisory: GivenUp, original: Kept | None) -> None:
        letter = letter_for(advisory, original)
        await self._bus.append(
            DEAD_LETTER,
            letter,
            msg_id=msg_id_of(advisory),
            body=b"" if original is None else original.payload,
            stream=letter.stream,
            consumer=letter.consumer,
        )
        _DEAD_LETTERS.labels(letter.stream, letter.consumer).inc()
        logger.warning(
            "{} gave up {} of {}: {}", letter.consumer, letter.subject, letter.stream, letter.reason
        )
        if self._on_moved is not None:
            await self._on_moved(letter)
