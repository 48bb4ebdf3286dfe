"""What goes over the wire of an exec session.  Pure.

After the first message, which says what to run, bytes travel in binary frames that begin with one byte for their kind; everything else is
JSON text with a `type`: a new window size, the end of stdin, the exit, an error.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any


class Kind(IntEnum):
    """The first byte of a binary frame."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2


@dataclass(frozen=True, slots=True)
class Request:
    """What to run, and how: in which replica, on a terminal of which size, with or without input."""

    argv: tuple[str, ...]
    slot: int | None = None  # None: the first that runs
    tty: bool = False
    stdin: bool = False
    rows: int = 24
    columns: int = 80

    def to_json(self) -> str:
        message = {key: value for key, value in asdict(self).items() if value is not None}
        return json.dumps(message)


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes that the command wrote."""

    kind: Kind
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The command is over (`exit_code`), or the session broke (`error`)."""

    exit_code: int | None
    error: str = ""


def stdin_frame(data: bytes) -> bytes:
    return bytes([Kind.STDIN]) + data


def stdin_closed() -> str:
    return json.dumps({"type": "stdin-closed"})


def resize(*, rows: int, columns: int) -> str:
    return json.dumps({"type": "resize", "rows": rows, "columns": columns})


def read(frame: bytes | str) -> Output | Ended | None:
    """What the platform says; None for what this client does not know."""
    if isinstance(frame, bytes):
        known = frame[:1] in (bytes([Kind.STDOUT]), bytes([Kind.STDERR]))
        return Output(Kind(frame[0]), frame[1:]) if known else None
    return _ended(_object(frame))


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _ended(message: dict[str, Any]) -> Ended | None:
    if message.get("type") == "error":
        return Ended(None, str(message.get("detail") or message.get("code") or ""))
    if message.get("type") != "exit":
        return None
    code = message.get("exit_code")
    return Ended(code if isinstance(code, int) else None, str(message.get("error") or ""))
