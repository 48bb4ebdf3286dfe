"""The name in a TLS client's first words, against what Python's own TLS says, in any pieces, and against rubbish."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.errors import Invalid
from services.ingress.client_hello import LARGEST_BYTES, server_name


def hello(name: str | None, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What a real client says first."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def in_records(said: bytes, size: int) -> bytes:
    """The same message over records of at most so many bytes."""
    message = said[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(said[:3] + len(piece).to_bytes(2) + piece for piece in pieces)


HELLO = hello("Web--Default.Apps.Example.COM")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_name_that_a_real_client_asks_for(version: ssl.TLSVersion) -> None:
    assert (
        server_name(hello("Web--Default.Apps.Example.COM", version=version))
        == "web--default.apps.example.com"
    )
    assert server_name(hello(None, version=version)) == ""


def test_every_beginning_needs_more() -> None:
    assert all(server_name(HELLO[:size]) is None for size in range(len(HELLO)))
    assert server_name(HELLO + b"\x14\x03\x03\x00\x01\x01") == "web--default.apps.example.com"


@given(st.integers(64, 600))
def test_over_several_records(size: int) -> None:
    assert server_name(in_records(HELLO, size)) == "web--default.apps.example.com"


def test_in_very_many_records_it_is_refused() -> None:
    """Each piece that comes is read anew: so many would keep the loop busy."""
    with pytest.raises(Invalid, match="too many pieces"):
        server_name(in_records(HELLO, 1))


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: web\r\n\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",  # Postgres asks for TLS in its own words first
        b"\x16\x02\x00\x00\x04\x01\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x16\x03\x01" + (LARGEST_BYTES + 1).to_bytes(2),
    ],
)
def test_what_is_no_client_hello(said: bytes) -> None:
    with pytest.raises(Invalid):
        server_name(said)


@given(st.data())
def test_rubbish_is_invalid_or_needs_more_and_nothing_else(data: st.DataObject) -> None:
    said = bytearray(HELLO)
    for _ in range(data.draw(st.integers(1, 5))):
        said[data.draw(st.integers(0, len(said) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = server_name(bytes(said))
    except Invalid:
        return
    assert found is None or isinstance(found, str)
