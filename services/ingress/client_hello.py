"""The name that a TLS client asks for, from its first words, before anything is encrypted (RFC 8446 4.1.2, RFC 6066 3).  Pure.

Nothing else of the handshake is looked at, and no byte of it is changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from lattice.errors import Invalid

# Clients with post-quantum keys say about 2 KiB; the handshake protocol alone would allow 16 MiB.
LARGEST_BYTES = 16_384
# Real ones come in one record, or in a few where a middlebox is to be confused.
_MOST_RECORDS = 16
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0
_RECORD_HEAD, _MESSAGE_HEAD = 5, 4
# A fatal alert, unrecognized_name: what RFC 6066 has for a name that nobody serves.
UNRECOGNIZED_NAME = bytes([21, 3, 3, 0, 2, 2, 112])


def server_name(said: bytes) -> str | None:
    """The name in lower case, "" if the client names none, None while more has to come.  Raises Invalid for what is no ClientHello."""
    message = _message(said)
    if message is None:
        return None
    try:
        return _name_in(_Reader(message))
    except IndexError:
        raise Invalid("the ClientHello is not well-formed") from None


def _message(said: bytes) -> bytes | None:
    """The ClientHello out of its records, over which it may be spread; None while it is not whole."""
    message, at, records = b"", 0, 0
    while len(said) - at >= _RECORD_HEAD:
        records += 1
        if records > _MOST_RECORDS:
            raise Invalid("the ClientHello is in too many pieces")
        size = int.from_bytes(said[at + 3 : at + 5])
        if said[at] != _HANDSHAKE or said[at + 1] != 3 or not 0 < size <= LARGEST_BYTES:
            raise Invalid("this is not the begin of TLS")
        message += said[at + _RECORD_HEAD : at + _RECORD_HEAD + size]
        at += _RECORD_HEAD + size
        if message and message[0] != _CLIENT_HELLO:
            raise Invalid("this is not the begin of TLS")
        if len(message) >= _MESSAGE_HEAD:
            whole = _MESSAGE_HEAD + int.from_bytes(message[1:4])
            if whole > LARGEST_BYTES:
                raise Invalid("the ClientHello is too large")
            if len(message) >= whole:
                return message[_MESSAGE_HEAD:whole]
    if said[:1] not in (b"", bytes([_HANDSHAKE])):
        raise Invalid("this is not the begin of TLS")
    return None


def _name_in(hello: _Reader) -> str:
    hello.skip(2 + 32)  # version, random
    for length_bytes in (1, 2, 1):  # session id, cipher suites, compression methods
        hello.vector(length_bytes)
    if hello.is_at_end:
        return ""
    extensions = hello.vector(2)
    while not extensions.is_at_end:
        kind, body = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            return _host_name(body.vector(2))
    return ""


def _host_name(names: _Reader) -> str:
    while not names.is_at_end:
        kind, name = names.number(1), names.vector(2)
        if kind == _HOST_NAME:
            return name.rest().decode("ascii", "replace").rstrip(".").lower()
    return ""


@dataclass(slots=True)
class _Reader:
    """Takes numbers and vectors off the front.  Raises IndexError beyond the end."""

    data: bytes
    at: int = 0

    @property
    def is_at_end(self) -> bool:
        return self.at >= len(self.data)

    def skip(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise IndexError
        taken, self.at = self.data[self.at : end], end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.skip(size))

    def vector(self, length_bytes: int) -> _Reader:
        return _Reader(self.skip(self.number(length_bytes)))

    def rest(self) -> bytes:
        return self.skip(len(self.data) - self.at)
