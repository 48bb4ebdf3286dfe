"""Splits byte streams into lines and server-sent events.  Pure.

Lines end at a newline byte only: splitting decoded text would also cut at U+2028 and its kin, which JSON may carry inside a string.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event; `id` is where to resume."""

    data: str
    event: str = "message"
    id: str = ""


def byte_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their end, as soon as each is complete; the last one also without an end."""
    rest = bytearray()
    for piece in pieces:
        rest += piece
        if b"\n" in piece:
            *lines, last = rest.split(b"\n")
            rest = bytearray(last)
            yield from (bytes(line).removesuffix(b"\r") for line in lines)
    if rest:
        yield bytes(rest)


def server_events(pieces: Iterable[bytes]) -> Iterator[ServerEvent]:
    """The events of a `text/event-stream`; comments and an event cut off at the end are left out."""
    fields: dict[str, list[str]] = {}
    for line in byte_lines(pieces):
        if line:
            name, _, value = line.decode("utf-8", "replace").partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
            continue
        if "data" in fields:
            yield _event(fields)
        fields = {}


def _event(fields: dict[str, list[str]]) -> ServerEvent:
    return ServerEvent(
        data="\n".join(fields["data"]),
        event=fields.get("event", ["message"])[-1],
        id=fields.get("id", [""])[-1],
    )
