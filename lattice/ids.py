"""Ids that sort by the moment they were made: `wl-0cs4m6pavbv1s7fq1g9r5h2k3m` is a prefix and a UUID of version 7.

The 26 characters are lower-case base32 with digits first, so text order is time order, and an id can stand in a subject, a host
name, a container name or a path.  Time and randomness are arguments: tests repeat them, processes take the system's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime

from lattice.clock import Clock, SystemClock

RANDOM_BYTES = 8

_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_LENGTH = 26
_PREFIX = re.compile(r"^[a-z]{2}$")
_VERSION, _VARIANT = 0x7, 0b10

NewId = Callable[[str], str]


def id_at(prefix: str, *, at: datetime, randomness: bytes) -> str:
    """The id made at `at` (microseconds count) with `RANDOM_BYTES` random bytes.  Raises ValueError for a prefix that is not two
    lower-case letters."""
    if not _PREFIX.match(prefix):
        raise ValueError(f"{prefix!r} is not a prefix of ids: it needs two lower-case letters")
    return f"{prefix}-{_text(_uuid7(at, randomness))}"


def new_id(
    prefix: str, *, clock: Clock | None = None, random_bytes: Callable[[int], bytes] = os.urandom
) -> str:
    """A new id: `new_id("wl")`.  Where ids must repeat, hand over a clock and a source of randomness."""
    return id_at(prefix, at=(clock or SystemClock()).now(), randomness=random_bytes(RANDOM_BYTES))


def _uuid7(at: datetime, randomness: bytes) -> int:
    milliseconds, microseconds = int(at.timestamp()) * 1000 + at.microsecond // 1000, at.microsecond % 1000
    # RFC 9562 lets the 12 bits behind the version carry a fraction of the millisecond: ids of one process rarely tie.
    fraction = microseconds * 4096 // 1000
    random_62 = int.from_bytes(randomness[:RANDOM_BYTES], "big") & (2**62 - 1)
    return milliseconds << 80 | _VERSION << 76 | fraction << 64 | _VARIANT << 62 | random_62


def _text(number: int) -> str:
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))
