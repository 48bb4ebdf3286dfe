"""What a terminal's socket carries, in both directions.  Pure.

The client's first message is JSON `{argv, tty, stdin, rows, columns, slot}`.  Then binary messages are bytes of the command with one byte in
front that says which (0 stdin, 1 stdout, 2 stderr), and text messages are JSON: `resize` and `stdin-closed` from the client, `started`,
`exit` and `error` from us.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lattice.contracts.messages import ExecSize, SessionFrame, SessionFrameKind
from lattice.errors import Invalid

STDIN, STDOUT, STDERR = b"\x00", b"\x01", b"\x02"
_PREFIX = {SessionFrameKind.STDOUT: STDOUT, SessionFrameKind.STDERR: STDERR}
# A frame travels as one bus message with headers; 64 KiB leaves room on every server.
MAX_INPUT_BYTES = 65_536

Rows = Annotated[int, Field(ge=1, le=1000, strict=True)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Start(_Message):
    """The client's first message: what to run, and in which slot of the workload."""

    argv: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(min_length=1, max_length=256)]
    tty: bool = False
    stdin: bool = False
    rows: Rows = 24
    columns: Rows = 80
    slot: Annotated[int, Field(ge=0, le=1000, strict=True)] | None = None


class _Resize(_Message):
    type: Literal["resize"]
    rows: Rows
    columns: Rows


class _StdinClosed(_Message):
    type: Literal["stdin-closed"]


_CONTROL: TypeAdapter[_Resize | _StdinClosed] = TypeAdapter(
    Annotated[_Resize | _StdinClosed, Field(discriminator="type")]
)


@dataclass(frozen=True, slots=True)
class Input:
    """Something for the command: a kind of frame, and its bytes or size."""

    kind: SessionFrameKind
    data: bytes = b""
    size: ExecSize | None = None


def read_start(text: str) -> Start:
    """The first message; Invalid says what is wrong with it."""
    try:
        return Start.model_validate_json(text)
    except ValidationError as error:
        raise _invalid("first message", error) from error


def read_bytes(data: bytes) -> Input:
    """Input for the command from a binary message."""
    if data[:1] != STDIN or len(data) > MAX_INPUT_BYTES + 1:
        raise Invalid(f"A binary message is byte 0 and then at most {MAX_INPUT_BYTES} bytes of input.")
    return Input(SessionFrameKind.STDIN, data[1:])


def read_control(text: str) -> Input:
    """A resize or the end of input from a text message."""
    try:
        control = _CONTROL.validate_json(text)
    except ValidationError as error:
        raise _invalid("message", error) from error
    if isinstance(control, _Resize):
        return Input(SessionFrameKind.RESIZE, size=ExecSize(rows=control.rows, columns=control.columns))
    return Input(SessionFrameKind.STDIN_CLOSED)


def output(frame: SessionFrame, body: bytes) -> bytes | str | None:
    """The message for the client, None if the frame is not for it."""
    if frame.kind in _PREFIX:
        return _PREFIX[frame.kind] + body
    if frame.kind is SessionFrameKind.EXIT:
        return json.dumps({"type": "exit", "exit_code": frame.exit_code, "error": frame.error})
    return None


def started(session_id: str) -> str:
    """Tells the client that its command runs."""
    return json.dumps({"type": "started", "session_id": session_id})


def failed(code: str, detail: str) -> str:
    """Tells the client why there is no session, or no more."""
    return json.dumps({"type": "error", "code": code, "detail": detail})


def _invalid(what: str, error: ValidationError) -> Invalid:
    found = error.errors(include_url=False)[0]
    place = "/".join(map(str, found["loc"])) or "the message"
    return Invalid(f"The {what} cannot be read: {place}: {found['msg']}")
