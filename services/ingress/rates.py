"""How often each visitor has asked lately.  Pure but for what it remembers: the time is an argument.

An allowance is a bucket that holds a whole window's requests and fills again evenly.  One number says all of it, when the bucket is full again, so a
visitor costs the same at any rate; and a visitor whose bucket is full is as good as one who never came, and is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

# About 30 MB. Beyond, whoever has asked longest ago is forgotten first, and begins with a full bucket.
MOST_REMEMBERED = 100_000
# Of a visitor's step: what sums of floats may be off.
_ROUNDING = 0.01


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so many seconds."""

    amount: int
    window_s: float


def full_again(full_s: float, rate: Rate, now_s: float) -> float | None:
    """When a bucket that is full at `full_s` is so after one more request now; None where it is empty."""
    step_s = rate.window_s / rate.amount
    after_s = max(full_s, now_s) + step_s
    return after_s if after_s - now_s <= rate.window_s + _ROUNDING * step_s else None


class Rates:
    """The buckets that are not full, by visitor; those who asked longest ago come first."""

    def __init__(self, *, most_remembered: int = MOST_REMEMBERED) -> None:
        self._most_remembered = most_remembered
        self._full_s: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_s)

    def may_ask(self, visitor: tuple[str, str], rate: Rate, now_s: float) -> bool:
        """Whether a visitor may ask now; who may has one request less."""
        full_s = full_again(self._full_s.get(visitor, now_s), rate, now_s)
        if full_s is None:
            return False
        self._full_s[visitor] = full_s
        self._full_s.move_to_end(visitor)
        self._forget(now_s)
        return True

    def _forget(self, now_s: float) -> None:
        while len(self._full_s) > self._most_remembered or next(iter(self._full_s.values())) <= now_s:
            self._full_s.popitem(last=False)
