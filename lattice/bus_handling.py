"""What becomes of a message: decided by the class of the error that its handler raised.

no error    done      acknowledged
Temporary   again     after 1 s, then after the consumer's own pauses: a database that restarts costs a second, one that is away
                      for half an hour costs no message
Invalid     given up  goes to the dead letters at once: it would fail for ever
any other   again     and given up when its deliveries are used up
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from loguru import logger

from lattice.bus_wire import Answer, context_of, decode, decode_model, encode_reply
from lattice.contracts.catalogue import Channel, Rpc
from lattice.contracts.nouns import Noun
from lattice.contracts.streams import Consumer
from lattice.errors import Invalid, LatticeError, Temporary
from lattice.messaging import Handler
from lattice.metrics import every_process as metrics
from lattice.process_log import log_context

P = TypeVar("P", bound=Noun)
Q = TypeVar("Q", bound=Noun)
R = TypeVar("R", bound=Noun)

FIRST_PAUSE_S = 1.0
_LONGEST_REASON = 400


@dataclass(frozen=True, slots=True)
class Done:
    """The message was handled."""

    outcome: str = "done"


@dataclass(frozen=True, slots=True)
class Again:
    """Deliver it again after a pause."""

    pause_s: float
    outcome: str = "again"


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Nobody can handle it: a dead letter."""

    reason: str
    outcome: str = "given_up"


Fate = Done | Again | GivenUp


@dataclass(frozen=True, slots=True)
class Raw:
    """A message as the stream delivered it."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]
    stream_seq: int
    deliveries: int


def decide(error: Exception | None, raw: Raw, consumer: Consumer) -> Fate:
    """What becomes of a message whose handler ended with `error`."""
    if error is None:
        return Done()
    if isinstance(error, Invalid) or raw.deliveries >= consumer.max_deliver:
        return GivenUp(_reason(error, raw))
    return Again(pause_s(raw.deliveries, consumer, retry_after_s=_asked_pause_s(error)))


def pause_s(deliveries: int, consumer: Consumer, *, retry_after_s: float | None = None) -> float:
    """How long to wait after the n-th delivery failed."""
    if retry_after_s is not None:
        return retry_after_s
    pauses = (min(FIRST_PAUSE_S, consumer.backoff_s[0]), *consumer.backoff_s)
    return pauses[min(deliveries, len(pauses)) - 1]


def _asked_pause_s(error: Exception) -> float | None:
    asked = error.data.get("retry_after_s") if isinstance(error, Temporary) else None
    return float(asked) if isinstance(asked, int | float) else None


def _reason(error: Exception, raw: Raw) -> str:
    # A work queue forgets a message that is given up, so the reason names its subject.
    text = f"{raw.subject}: {type(error).__name__}: {error}"
    return " ".join(text.split())[:_LONGEST_REASON]


async def handle(raw: Raw, channel: Channel[P], handler: Handler[P], consumer: Consumer) -> Fate:
    """Read one message, hand it to `handler`, and say what becomes of it.  Raises nothing but cancellation."""
    metrics.RECEIVED.labels(channel.name).inc()
    if raw.deliveries > 1:
        metrics.REDELIVERED.labels(channel.name).inc()
    fate = decide(await _attempt(raw, channel, handler), raw, consumer)
    metrics.HANDLED.labels(channel.name, fate.outcome).inc()
    return fate


async def _attempt(raw: Raw, channel: Channel[P], handler: Handler[P]) -> Exception | None:
    with log_context(**context_of(raw.headers)):
        try:
            await handler(
                decode(
                    channel,
                    raw.subject,
                    raw.payload,
                    raw.headers,
                    stream_seq=raw.stream_seq,
                    deliveries=raw.deliveries,
                )
            )
        except Exception as error:
            log_failure(error, channel.name)
            return error
    return None


def log_failure(error: Exception, name: str) -> None:
    """Expected errors in one line, unexpected ones with their trace."""
    if isinstance(error, LatticeError) and type(error) is not LatticeError:
        logger.warning("{} was not handled: {}: {}", name, type(error).__name__, error)
    else:
        logger.opt(exception=error).error("{} was not handled", name)


async def hear(
    channel: Channel[P],
    handler: Handler[P],
    subject: str,
    payload: bytes,
    headers: Mapping[str, str],
    *,
    stream_seq: int | None = None,
) -> None:
    """Hand a message that nothing keeps to `handler`; an error is logged and the message is gone."""
    metrics.RECEIVED.labels(channel.name).inc()
    with log_context(**context_of(headers)):
        try:
            await handler(decode(channel, subject, payload, headers, stream_seq=stream_seq))
        except Exception as error:
            log_failure(error, channel.name)
            metrics.HANDLED.labels(channel.name, "failed").inc()
        else:
            metrics.HANDLED.labels(channel.name, "done").inc()


def for_subject(
    rpc: Rpc[Q, R], handler: Callable[..., Awaitable[R]], subject: str
) -> Callable[[Q], Awaitable[R]]:
    """The handler of requests on one subject: where the subject says who asks, it is told."""
    return partial(handler, **(rpc.address.parse(subject) or {})) if rpc.addressed else handler


async def respond(
    rpc: Rpc[Q, R], handler: Callable[[Q], Awaitable[R]], payload: bytes, headers: Mapping[str, str]
) -> Answer | LatticeError:
    """Serve one request: the reply, or the error to send back.  An unexpected error tells the other side nothing but that it
    happened."""
    began_s = time.perf_counter()
    with log_context(**context_of(headers)):
        try:
            request = decode_model(rpc.request, payload, rpc.name)
            said: Answer | LatticeError = encode_reply(rpc, await handler(request))
        except LatticeError as error:
            said = error
        except Exception:
            logger.exception("request {} failed", rpc.name)
            said = LatticeError("Something unexpected went wrong; the log of the service says what.")
    outcome = said.code if isinstance(said, LatticeError) else "ok"
    metrics.SERVED.labels(rpc.name, outcome).observe(time.perf_counter() - began_s)
    return said
