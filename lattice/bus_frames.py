"""A message as bytes, ready for the wire: what is the same in the headers of a bulk is written once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from lattice.bus_topology import takes_batches
from lattice.bus_wire import META, check_msg_id, cloud_event, context_headers, to_ascii, to_json
from lattice.contracts.catalogue import Channel
from lattice.contracts.subjects import Address
from lattice.messaging import MSG_ID, Outgoing


@dataclass(frozen=True, slots=True)
class Frame:
    """A message with its headers as bytes already; `stream` names the stream that takes it in batches, or is empty."""

    subject: str
    head: bytes
    payload: bytes
    stream: str

    @property
    def size(self) -> int:
        return len(self.head) + len(self.payload)

    def head_with(self, lines: str) -> bytes:
        """The headers with further ones."""
        return self.head[:-2] + lines.encode() + b"\r\n"


class Framer:
    """Writes messages of one bulk: what is the same in all headers is written once."""

    def __init__(self, source: str, at: datetime) -> None:
        self._source, self._at = source, at
        self._starts: dict[str, str] = {}

    def frame(self, outgoing: Outgoing[Any]) -> Frame:
        channel, msg_id = outgoing.channel, check_msg_id(outgoing.msg_id)
        payload, meta = to_json(outgoing.message), ""
        if channel.binary:
            payload, meta = outgoing.body, f"{META}: {to_ascii(payload)}\r\n"
        start = self._starts.get(channel.name) or self._start(channel)
        head = f"{start}{MSG_ID}: {msg_id}\r\nce-id: {msg_id}\r\n{meta}\r\n"
        subject = _subject(channel.address, tuple(outgoing.tokens.items()))
        stream = channel.stream.name if channel.stream is not None and takes_batches(channel.stream) else ""
        return Frame(subject, head.encode(), payload, stream)

    def _start(self, channel: Channel[Any]) -> str:
        headers = cloud_event(
            channel.name, source=self._source, event_id="", at=self._at, binary=channel.binary
        )
        headers |= context_headers()
        lines = (f"{name}: {value}\r\n" for name, value in headers.items() if value)
        self._starts[channel.name] = f"NATS/1.0\r\n{''.join(lines)}"
        return self._starts[channel.name]


@lru_cache(maxsize=4096)
def _subject(address: Address, tokens: tuple[tuple[str, str], ...]) -> str:
    return address.subject(**dict(tokens))
