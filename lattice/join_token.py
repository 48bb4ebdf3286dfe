"""The text of a join token, which an admin copies from one terminal to another: `lattice-join.<base64url of JSON>`.

It says where the gateway is (`u`), which CA a machine must find there (`f`, SHA-256 in hex), and the secret (`t`) that gives the right to
ask for membership once.  The secret is kept by nobody else: the registry stores its hash.  Node and registry read the text with the same
function.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass

from lattice.errors import Unauthenticated

PREFIX = "lattice-join."
SECRET_BYTES = 32

_LONGEST = 4096
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What the text says; `secret` must not reach a log."""

    gateway_url: str
    ca_fingerprint: str
    secret: str

    @property
    def text(self) -> str:
        """The token as people copy it."""
        parts = {"u": self.gateway_url, "f": self.ca_fingerprint, "t": self.secret}
        raw = json.dumps(parts, separators=(",", ":")).encode()
        return PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")

    @property
    def secret_sha256(self) -> str:
        """What the registry keeps (hex)."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def __repr__(self) -> str:
        return f"JoinToken({self.gateway_url})"


def secret_text(random_bytes: bytes) -> str:
    """The secret of a new token from `SECRET_BYTES` random bytes."""
    return base64.urlsafe_b64encode(random_bytes).decode().rstrip("=")


def read_join_token(text: str) -> JoinToken:
    """The token that somebody typed or pasted.  Raises Unauthenticated if it is not whole."""
    words = text.strip()
    try:
        if not words.startswith(PREFIX) or len(words) > _LONGEST:
            raise ValueError("another kind of text")
        return _token(json.loads(_decoded(words.removeprefix(PREFIX))))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        detail = (
            "This is not a whole join token: copy all of it, from `lattice-join.` to its end, or make another "
            "with `lattice node token`."
        )
        raise Unauthenticated(detail) from error


def _decoded(body: str) -> bytes:
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeError) as error:
        raise ValueError("not base64url") from error


def _token(parts: dict[str, object]) -> JoinToken:
    url, fingerprint, secret = parts["u"], parts["f"], parts["t"]
    if not (isinstance(url, str) and isinstance(fingerprint, str) and isinstance(secret, str) and secret):
        raise ValueError("a part is missing")
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise ValueError("not a fingerprint")
    return JoinToken(url, fingerprint, secret)
