"""How a message looks on the wire, the same over NATS and in memory.

The payload is the model as JSON; on a binary channel, and of a reply with a bulk, it is bytes, and the model travels in the header
`Lattice-Meta`.  Every message is a
CloudEvent in binary mode (`ce-…` headers), so that other programs can read what Lattice says.  The log's context travels along.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import ValidationError

from lattice.contracts.catalogue import Channel, Rpc
from lattice.contracts.nouns import Noun
from lattice.contracts.subjects import Address
from lattice.errors import Invalid, LatticeError, WireError, from_wire, to_wire
from lattice.messaging import MSG_ID, Received
from lattice.process_log import current_context

P = TypeVar("P", bound=Noun)
N = TypeVar("N", bound=Noun)
R = TypeVar("R", bound=Noun)

META = "Lattice-Meta"
ERROR = "Lattice-Error"
REQUEST_ID = "Lattice-Request-Id"
OPERATION_ID = "Lattice-Operation-Id"

# A header that nobody reads must not push a message over the server's limits.
LARGEST_ERROR = 16_384

_MSG_ID = re.compile(r"[ -~]{1,200}")
_WILDCARD = re.compile(r"\{\{wildcard\((\d+)\)\}\}")
_PARTITION = re.compile(r"\{\{partition\((\d+),(\d+)\)\}\}")


@dataclass(frozen=True, slots=True)
class Wire:
    """A message ready to be sent."""

    subject: str
    payload: bytes
    headers: dict[str, str]


def encode(
    channel: Channel[P],
    message: P,
    tokens: Mapping[str, str],
    *,
    body: bytes,
    source: str,
    msg_id: str,
    at: datetime,
) -> Wire:
    """`message` on the subject of `channel`.  Raises subjects.BadToken for a token that could widen a subject."""
    headers = cloud_event(channel.name, source=source, event_id=msg_id, at=at, binary=channel.binary)
    headers.update(context_headers())
    payload = to_json(message)
    if channel.binary:
        headers[META] = to_ascii(payload)
        payload = body
    return Wire(channel.address.subject(**tokens), payload, headers)


def to_json(message: Noun) -> bytes:
    """The model as JSON; straight to bytes, which a bulk of messages feels."""
    return message.__pydantic_serializer__.to_json(message)


def cloud_event(name: str, *, source: str, event_id: str, at: datetime, binary: bool) -> dict[str, str]:
    """The headers that make a message a CloudEvent, and the id by which streams drop repetitions."""
    return {
        MSG_ID: event_id,
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-type": f"lattice.{name}",
        "ce-source": f"/lattice/{source}",
        "ce-time": rfc3339(at),
        "ce-datacontenttype": "application/octet-stream" if binary else "application/json",
    }


def check_msg_id(msg_id: str) -> str:
    """`msg_id` itself.  Raises ValueError for one that could end a header."""
    if not _MSG_ID.fullmatch(msg_id):
        raise ValueError(f"{msg_id!r} cannot be a message id: 1 to 200 printable ASCII characters")
    return msg_id


def rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def context_headers() -> dict[str, str]:
    """What the work going on is about, for whoever receives the message."""
    context = current_context()
    names = ((REQUEST_ID, "request_id"), (OPERATION_ID, "operation_id"))
    return {header: to_header(context[name]) for header, name in names if name in context}


def context_of(headers: Mapping[str, str]) -> dict[str, str | None]:
    """The log's context that a message brought along."""
    return {"request_id": headers.get(REQUEST_ID), "operation_id": headers.get(OPERATION_ID)}


def to_header(text: str) -> str:
    """`text` without anything that could end a header; ids of requests come from outside."""
    return "".join(character for character in text if " " <= character <= "~")[:128]


def decode(
    channel: Channel[P],
    subject: str,
    payload: bytes,
    headers: Mapping[str, str],
    *,
    stream_seq: int | None = None,
    deliveries: int = 1,
) -> Received[P]:
    """The message that `encode` made.  Raises Invalid when it cannot be read."""
    model = headers.get(META, "") if channel.binary else payload
    return Received(
        message=decode_model(channel.payload, model, channel.name),
        subject=subject,
        tokens=tokens_of(channel, subject),
        headers=dict(headers),
        body=payload if channel.binary else b"",
        stream_seq=stream_seq,
        deliveries=deliveries,
    )


def decode_model(kind: type[N], text: str | bytes, name: str) -> N:
    """`text` as a model.  Raises Invalid that names each broken field."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        raise Invalid(
            f"This is not a {kind.__name__} as {name} carries it: check the versions of both sides.",
            errors=[{"pointer": _pointer(problem["loc"]), "detail": problem["msg"]} for problem in problems],
        ) from error


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply ready to be sent."""

    payload: bytes
    headers: dict[str, str]


def encode_reply(rpc: Rpc[Any, R], reply: R) -> Answer:
    """The reply as its contract has it."""
    if not rpc.bulk:
        return Answer(to_json(reply), {})
    about = reply.__pydantic_serializer__.to_json(reply, exclude={rpc.bulk})
    return Answer(getattr(reply, rpc.bulk), {META: to_ascii(about)})


def decode_reply(rpc: Rpc[Any, R], payload: bytes, headers: Mapping[str, str]) -> R:
    """What `encode_reply` was given.  Raises Invalid when it cannot be read."""
    if not rpc.bulk:
        return decode_model(rpc.reply, payload, rpc.name)
    about = decode_model(rpc.reply, headers.get(META, ""), rpc.name)
    return about.model_copy(update={rpc.bulk: payload})


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)


def encode_error(error: LatticeError) -> str:
    """The header in which an error goes back to whoever asked."""
    text = _as_header(to_wire(error))
    if len(text) <= LARGEST_ERROR:
        return text
    return _as_header({"code": error.code, "detail": error.detail[:2000], "errors": [], "data": {}})


def _as_header(wire: WireError) -> str:
    return json.dumps(wire, default=str)


def decode_error(text: str) -> LatticeError:
    try:
        return from_wire(json.loads(text))
    except (ValueError, KeyError, TypeError):
        return LatticeError("The other side reported an error that cannot be read.")


def to_ascii(document: bytes) -> str:
    """JSON as one line of ASCII, so that no header depends on an encoding."""
    if document.isascii():
        return document.decode("ascii")
    value: Any = json.loads(document)
    return json.dumps(value)


# ------------------------------------------------------------------------------------------------ subjects that streams rewrite


@lru_cache(maxsize=256)
def stored_address(channel: Channel[Any]) -> Address:
    """The address under which the channel's stream keeps its messages: OBSERVED puts a partition in front."""
    if channel.stream is None or channel.stream.transform is None:
        return channel.address
    _, destination = channel.stream.transform
    named = _WILDCARD.sub(lambda place: f"{{{channel.address.places[int(place[1]) - 1]}}}", destination)
    return Address(_PARTITION.sub("{partition}", named))


def tokens_of(channel: Channel[Any], subject: str) -> dict[str, str]:
    """The tokens of a subject of `channel`, as published or as stored.  Raises Invalid for any other."""
    for address in (channel.address, stored_address(channel)):
        tokens = address.parse(subject)
        if tokens is not None:
            return {place: tokens[place] for place in channel.address.places}
    raise Invalid(f"{subject} is not a subject of {channel.name}.")


def map_subject(rule: tuple[str, str], subject: str) -> str:
    """What a stream's transform or republish rule makes of a subject."""
    source, destination = rule
    wild = [got for want, got in zip(source.split("."), subject.split("."), strict=True) if want == "*"]
    mapped = _WILDCARD.sub(lambda place: wild[int(place[1]) - 1], destination)
    return _PARTITION.sub(lambda place: str(_fnv1a(wild[int(place[2]) - 1]) % int(place[1])), mapped)


def _fnv1a(text: str) -> int:
    number = 0x811C9DC5
    for byte in text.encode():
        number = (number ^ byte) * 0x01000193 & 0xFFFFFFFF
    return number


def matches(pattern: str, subject: str) -> bool:
    """Whether a subscription to `pattern` hears `subject`."""
    wanted, given = pattern.split("."), subject.split(".")
    for place, want in enumerate(wanted):
        if want == ">":
            return len(given) > place
        if place >= len(given) or want not in ("*", given[place]):
            return False
    return len(wanted) == len(given)
