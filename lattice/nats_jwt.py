"""Signed statements (JWTs) as NATS reads them: Ed25519 over its own claims, times in whole seconds.

Private to `identity`, which decides what is said of whom.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from typing import Any

from lattice.errors import Invalid, Unauthenticated
from lattice.nkey import NKey, verify

Claims = dict[str, Any]


def decode(jwt: str) -> Claims:
    """The claims of a JWT whose signature fits its issuer.  Raises Unauthenticated; who issued it is yours
    to judge.
    """
    try:
        head, body, signature = jwt.split(".")
        claims: Claims = json.loads(_from_base64(body))
        verify(claims["iss"], f"{head}.{body}".encode(), _from_base64(signature))
    except (ValueError, KeyError, TypeError, Invalid) as error:
        raise Unauthenticated("The ticket cannot be read: ask for a new one.") from error
    return claims


def sign(
    issuer: NKey,
    subject: str,
    name: str,
    body: Claims,
    issued_at: datetime,
    expires_at: datetime | None = None,
) -> str:
    """A statement of `issuer` about `subject`, called `name`: `body` is the part that only NATS reads."""
    claims: Claims = {"iat": whole_seconds(issued_at), "iss": issuer.public, "name": name, "sub": subject}
    claims["nats"] = {**body, "version": 2}
    if expires_at is not None:
        claims["exp"] = whole_seconds(expires_at)
    digest = hashlib.sha256(json.dumps(claims, sort_keys=True).encode()).digest()
    claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
    signed = f"{_to_base64({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_to_base64(claims)}"
    return f"{signed}.{_base64(issuer.sign(signed.encode()))}"


def whole_seconds(when: datetime) -> int:
    return int(when.timestamp())


def _to_base64(value: Claims) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
