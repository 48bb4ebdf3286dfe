"""One line per step, so that a person who waits knows what for, and sees afterwards where the time went."""

from __future__ import annotations

import time
from collections.abc import Callable


def step(title: str, ensure: Callable[[], object]) -> None:
    """Do one step; prints its title at once and behind it, when done, what `ensure` says and the seconds."""
    print(f"  {title:<18} ", end="", flush=True)
    started_s = time.monotonic()
    try:
        outcome = ensure()
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{outcome} ({time.monotonic() - started_s:.1f} s)", flush=True)
