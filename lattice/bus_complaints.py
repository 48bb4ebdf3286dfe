"""Says a thing once and then at most every 30 s: a slow consumer complains per message, a refused login per attempt."""

from __future__ import annotations

import time
from collections.abc import Callable

from loguru import logger

QUIET_S = 30.0
_MOST_KINDS = 256


class Complaints:
    """Warnings that repeat; those kept back are counted in the next one."""

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._said: dict[str, tuple[float, int]] = {}

    def say(self, kind: str, text: str) -> None:
        """Warn, unless the same kind was warned of just now."""
        now_s = self._monotonic_s()
        said_s, kept_back = self._said.get(kind, (float("-inf"), 0))
        if now_s - said_s < QUIET_S:
            self._said[kind] = (said_s, kept_back + 1)
            return
        if len(self._said) >= _MOST_KINDS:
            self._said.clear()
        self._said[kind] = (now_s, 0)
        logger.warning("{}{}", text, f" ({kept_back} more like it)" if kept_back else "")
