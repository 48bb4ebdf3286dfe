"""What the supervisor, the nursery and a newborn process say to each other.  Pure.

The nursery is only asked for a module.  What a process is told goes to that process alone, once it exists, so no part ever holds
another's environment: not even in memory that was let go.

    supervisor → nursery    a module, with two descriptors: the log file, and one end of a socket
    newborn → supervisor    on that socket: its pid, or why there is none
    supervisor → newborn    the order; an end without one means that it is not wanted any more
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

LONGEST_BYTES = 2**17
# What Python, the C library or the linker read once, when a program starts: a fork cannot change it any more.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "TZ", "LD_", "MALLOC_", "GLIBC_", "OPENSSL_")


@dataclass(frozen=True, slots=True)
class Order:
    """What a newborn process is to be.  `argv` is what `ps` shows: the command that would have started it."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str
    death_signal: int

    def encode(self) -> bytes:
        """As one message."""
        return json.dumps(asdict(self)).encode()


def read_order(message: bytes) -> Order:
    """The order in a message of ours."""
    content = json.loads(message)
    return Order(**{**content, "argv": tuple(content["argv"])})


@dataclass(frozen=True, slots=True)
class Answer:
    """The process that was born, or the problem."""

    pid: int = 0
    problem: str = ""

    def encode(self) -> bytes:
        """As one message."""
        return json.dumps(asdict(self)).encode()


def read_answer(message: bytes) -> Answer:
    """The answer in a message.  None at all is the end of whoever should have answered."""
    return Answer(**json.loads(message)) if message else Answer(problem="it ended without an answer")


def can_be_forked(environment: Mapping[str, str], *, nursery: Mapping[str, str]) -> bool:
    """Whether a process with this environment may come from a nursery with that one."""
    return _read_at_start(environment) == _read_at_start(nursery)


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}
