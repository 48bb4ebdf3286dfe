"""Time as something that is handed over, never looked up: a decision takes `now` as an argument, a shell takes a `Clock`.

`now` is for people and records; it may jump.  `monotonic_s` is for measuring how long something took or was silent; it never goes back.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment; differences are durations."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()
