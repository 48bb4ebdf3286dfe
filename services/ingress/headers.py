"""Which headers go on, which stay behind, and which are ours to say.  Pure.

Hop-by-hop headers belong to one connection (RFC 9110, 7.6.1).  Who the visitor is, only we say: what they claim of that themselves is taken out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address

Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    (b"connection", b"expect", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer", b"upgrade")
)  # fmt: skip
# `proxy` becomes the setting HTTP_PROXY of a CGI program (CVE-2016-5385).
_OURS = frozenset((b"forwarded", b"x-real-ip", b"proxy"))
_OUR_PREFIXES = (b"x-forwarded-", b"x-lattice-")
_HOST = re.compile(rb"[A-Za-z0-9.-]+(:\d{1,5})?")
# However a visitor names them in `Connection`: without these the instance would read another request than we did.
_NEVER_LEFT_OUT = frozenset((b"host", b"content-length", b"transfer-encoding"))


def listed_in(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> frozenset[bytes]:
    """The comma-separated words of all headers of this name, in lower case."""
    values = b",".join(value for each, value in headers if each == name)
    return frozenset(word.strip().lower() for word in values.split(b",") if word.strip())


def upgrade_of(headers: Headers) -> bytes | None:
    """What a request wants to become: b"websocket".  Only where `Connection` says so as well."""
    asked = [value.strip().lower() for name, value in headers if name == b"upgrade"]
    return asked[0] if len(asked) == 1 and b"upgrade" in listed_in(headers, b"connection") else None


def why_refused(method: bytes, target: bytes, headers: Headers) -> str:
    """Why a request is not passed on although it can be parsed: two servers could understand it differently.  Empty if it is fine."""
    names = [name for name, _ in headers]
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1:
        return "It needs one Host header"
    if not _HOST.fullmatch(hosts[0]):
        return "Its Host is not a name"
    if b"transfer-encoding" in names and b"content-length" in names:
        return "It has both a Content-Length and a Transfer-Encoding"
    if method == b"CONNECT" or not target.startswith(b"/"):
        return "Its target is not a path"
    if b"upgrade" in names and upgrade_of(headers) != b"websocket":
        return "It can be upgraded to websocket only"
    return ""


def client_of(
    peer: str, scheme: str, headers: Headers, trusted: Collection[IPv4Network | IPv6Network]
) -> tuple[str, str]:
    """(address, scheme) of the visitor: what a proxy of ours in front says of them, else the connection's own."""
    if not any(ip_address(peer) in network for network in trusted):
        return peer, scheme
    said = [
        word.strip()
        for name, value in headers
        if name == b"x-forwarded-for"
        for word in value.decode("latin-1").split(",")
    ]
    schemes = listed_in(headers, b"x-forwarded-proto")
    return (said[-1] if said else peer), _scheme_said(schemes) or scheme


def _scheme_said(schemes: Collection[bytes]) -> str:
    """What all proxies on the way agree on; "" where they say nothing, and the weaker one where they disagree."""
    if not schemes:
        return ""
    return "https" if set(schemes) == {b"https"} else "http"


def request_headers(
    headers: Headers, *, client: str, scheme: str, upgrade: bytes | None, is_guarded: bool = False
) -> Headers:
    """What the instance is sent; what a guard of ours asked for is not for it."""
    host = next(value for name, value in headers if name == b"host")
    kept = [(name, value) for name, value in _end_to_end(headers) if not _is_ours(name)]
    if is_guarded:
        kept = [(name, value) for name, value in kept if name != b"authorization"]
    forwarded = [
        (b"x-forwarded-for", client.encode()),
        (b"x-forwarded-host", host),
        (b"x-forwarded-proto", scheme.encode()),
    ]
    return [*kept, *forwarded, *_hop(upgrade)]


def response_headers(headers: Headers, *, upgrade: bytes | None = None) -> Headers:
    """What the visitor is sent."""
    return [*_end_to_end(headers), *([] if upgrade is None else _hop(upgrade))]


def _is_ours(name: bytes) -> bool:
    # Gateways such as WSGI tell `x_forwarded_for` from `x-forwarded-for` as little as we may.
    plain = name.replace(b"_", b"-")
    return plain in _OURS or plain.startswith(_OUR_PREFIXES)


def _end_to_end(headers: Headers) -> Headers:
    named = listed_in(headers, b"connection") - _NEVER_LEFT_OUT
    return [(name, value) for name, value in headers if name not in _HOP_BY_HOP and name not in named]


def _hop(upgrade: bytes | None) -> Headers:
    return (
        [(b"connection", b"close")]
        if upgrade is None
        else [(b"connection", b"upgrade"), (b"upgrade", upgrade)]
    )
