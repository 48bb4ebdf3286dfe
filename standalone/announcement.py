"""How to reach a running platform as its operator: what `up` prints, and keeps for `lattice` on this machine.

The file is there exactly while the platform is ready, so it also tells others that it is.  Each `up` replaces the operator's token under the
same id: whoever copied an old one has nothing.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from pydantic import BaseModel, ValidationError

from lattice.errors import Unauthenticated
from lattice.files import write_durably
from lattice.ids import new_id
from services.gateway.tokens import SECRET_BYTES, Token, TokenKind, make_token, read_token, secret_text
from standalone.data_dir import DataDir


class Announcement(BaseModel, frozen=True):
    """Where the gateway is, the CA to trust (a file), a valid admin token, and where everything lies."""

    url: str
    console: str
    ca: Path
    token: str
    data_dir: Path

    def __repr__(self) -> str:
        return f"Announcement({self.url})"  # the token must not reach a log


def announcement_file(data_dir: DataDir) -> Path:
    return data_dir.run / "platform.json"


def announce(data_dir: DataDir, announcement: Announcement) -> None:
    """Tell `lattice` on this machine that the platform is ready."""
    write_durably(announcement_file(data_dir), announcement.model_dump_json(indent=1).encode())


def withdraw(data_dir: DataDir) -> None:
    """The platform is not ready any more, or not yet."""
    announcement_file(data_dir).unlink(missing_ok=True)


def read_announcement(data_dir: DataDir) -> Announcement | None:
    """The platform that is ready here, or None."""
    try:
        return Announcement.model_validate_json(announcement_file(data_dir).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def operator_token_file(data_dir: DataDir) -> Path:
    return data_dir.keys / "operator-token"


def bootstrap_secret_file(data_dir: DataDir) -> Path:
    """Holds what lets a person make the first admin, once."""
    return data_dir.keys / "setup-secret"


def renew_operator_token(data_dir: DataDir) -> Token:
    """Another token for the operator of this machine, under the id that it had before."""
    path = operator_token_file(data_dir)
    token = make_token(
        TokenKind.API, row_id=_row_id(path), secret=secret_text(secrets.token_bytes(SECRET_BYTES))
    )
    write_durably(path, token.text.encode())
    return token


def ensure_bootstrap_secret(data_dir: DataDir) -> None:
    path = bootstrap_secret_file(data_dir)
    if not path.exists():
        write_durably(path, secrets.token_urlsafe(24).encode())


def _row_id(path: Path) -> str:
    try:
        return read_token(path.read_text().strip()).row_id
    except (FileNotFoundError, Unauthenticated):
        return new_id("tk")
