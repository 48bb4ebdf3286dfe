"""Counting in windows: which buckets the store is to count, and how windows are summed up from them.  Pure.

A window ends at each step and may be longer than a step, so buckets are what fits into both without a rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from math import gcd

from lattice.contracts.messages.log_counts import MOST_BUCKETS
from lattice.errors import Invalid

MOST_STEPS = 11_000
# A count goes on from where a search ended, bucket by bucket: of a single bucket it could only begin anew.
_FEWEST_BUCKETS = 60
_SPLITS = (60, 30, 20, 12, 10, 6, 5, 4, 3, 2)
_NS = 10**9

Points = list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Windows:
    """`steps` windows, the first of which ends at `start_ns`."""

    start_ns: int
    step_ns: int
    window_ns: int
    steps: int
    width_ns: int

    @property
    def origin_ns(self) -> int:
        """Where the first bucket begins."""
        return self.start_ns - self.window_ns

    @property
    def buckets(self) -> int:
        """How many there are."""
        return (self.window_ns + (self.steps - 1) * self.step_ns) // self.width_ns


def windows(start_ns: int, end_ns: int, *, step_ns: int, window_ns: int) -> Windows:
    """The windows that end between two times.  Raises Invalid for too many of them."""
    if end_ns < start_ns:
        raise Invalid("The time ends before it begins.")
    steps = (end_ns - start_ns) // step_ns + 1
    if steps > MOST_STEPS:
        raise Invalid(f"{steps} steps are more than {MOST_STEPS}: use a longer step.")
    coarse = Windows(start_ns, step_ns, window_ns, steps, gcd(step_ns, window_ns))
    if coarse.buckets > MOST_BUCKETS:
        raise Invalid(
            "The window is no multiple of the step, nor the step of the window: choose them so that one is."
        )
    return Windows(start_ns, step_ns, window_ns, steps, coarse.width_ns // _split(coarse))


def points(found: Windows, counts: Iterable[tuple[int, int]], value_of: Callable[[int], float]) -> Points:
    """(end of a window in ns, its value as text) of those in which something was counted; `counts` is (bucket, number)."""
    numbers = [0] * found.buckets
    for bucket, number in counts:
        numbers[bucket] += number
    until = [0, *accumulate(numbers)]
    per_step, per_window = found.step_ns // found.width_ns, found.window_ns // found.width_ns
    sums = (until[n * per_step + per_window] - until[n * per_step] for n in range(found.steps))
    return [
        (found.start_ns + n * found.step_ns, number_text(value_of(total)))
        for n, total in enumerate(sums)
        if total
    ]


def value_in(function: str, window_ns: int) -> Callable[[int], float]:
    """What a function makes of a number of lines or bytes."""
    if function.endswith("rate"):
        return lambda total: total * _NS / window_ns
    return float


def number_text(value: float) -> str:
    """A number as Loki writes it."""
    return str(int(value)) if value == int(value) else repr(value)


def _split(coarse: Windows) -> int:
    """In how many parts each bucket is cut, where there are few."""
    if coarse.buckets >= _FEWEST_BUCKETS:
        return 1
    return next((parts for parts in _SPLITS if coarse.width_ns % parts == 0), 1)
