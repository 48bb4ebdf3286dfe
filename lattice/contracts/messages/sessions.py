"""What the platform asks of an agent at once, and the frames of an interactive session."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from lattice.contracts.nouns import ContainerKey, Id, Noun


class ExecSize(Noun):
    rows: Annotated[int, Field(ge=1, le=1000)] = 24
    columns: Annotated[int, Field(ge=1, le=1000)] = 80


class ExecRequest(Noun):
    """Run argv inside an instance; the session's bytes go over `…session.<sid>.*`."""

    session_id: Id
    key: ContainerKey
    argv: tuple[str, ...] = Field(min_length=1)
    tty: bool = False
    stdin: bool = False
    size: ExecSize | None = None


class ExecStarted(Noun):
    session_id: Id


class SessionFrameKind(StrEnum):
    """What a frame of an exec session carries; in the header `Lattice-Frame`."""

    STDIN = "stdin"
    STDIN_CLOSED = "stdin-closed"
    RESIZE = "resize"
    STDOUT = "stdout"
    STDERR = "stderr"
    EXIT = "exit"
    KEEPALIVE = "keepalive"


class SessionFrame(Noun):
    """Describes the bytes of one frame; `exit_code` only with EXIT, `size` only with RESIZE, `error` when the session broke."""

    session_id: Id
    kind: SessionFrameKind
    number: int
    exit_code: int | None = None
    size: ExecSize | None = None
    error: str = ""


class Resync(Noun):
    """Asks the agent for its observed document at once."""


class Done(Noun):
    """The answer where there is nothing to say."""
