"""Opaque bearer tokens: `lat_<26>_<secret>` for programs, `las_<26>_<secret>` for sign-ins.

The prefix lets scanners find a leaked one, the middle part is the id of the row, and only the SHA-256 of the whole is stored: a secret of
256 random bits needs no slow hash.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import StrEnum

from lattice.errors import Unauthenticated

_FORM = re.compile(r"^(lat|las)_([a-z0-9]{26})_([A-Za-z0-9]{32,128})$")
SECRET_BYTES = 32


class TokenKind(StrEnum):
    """What a token stands for: its first three letters."""

    API = "lat"
    SESSION = "las"

    @property
    def id_prefix(self) -> str:
        """The prefix of the row's id."""
        return "tk" if self is TokenKind.API else "ss"


@dataclass(frozen=True, slots=True)
class Token:
    """A token taken apart; `text` is what the client sends, never stored."""

    kind: TokenKind
    row_id: str
    text: str

    @property
    def sha256(self) -> str:
        """What is stored of it."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def __repr__(self) -> str:
        return f"<token {self.row_id}>"  # a traceback or a log line never shows the secret


def secret_text(random_bytes: bytes) -> str:
    """The secret of a new token from `SECRET_BYTES` random bytes, in letters and digits."""
    return base64.b32encode(random_bytes).decode().rstrip("=").lower()


def make_token(kind: TokenKind, *, row_id: str, secret: str) -> Token:
    """The token of the row `tk-…` or `ss-…`."""
    return Token(kind, row_id, f"{kind}_{row_id.split('-', 1)[1]}_{secret}")


def read_token(text: str) -> Token:
    """Take a token apart; Unauthenticated if it does not look like one."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise Unauthenticated("That is not a token of this platform. Sign in again, or make a new API token.")
    kind = TokenKind(match[1])
    return Token(kind, f"{kind.id_prefix}-{match[2]}", text)


def matches(token: Token, stored_sha256: str) -> bool:
    """Compare without telling by the time taken how much of it was right."""
    return hmac.compare_digest(token.sha256, stored_sha256)
