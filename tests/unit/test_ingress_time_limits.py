"""When a connection's time is up."""

from __future__ import annotations

import pytest

from services.ingress.time_limits import Limit, Seen, TimeLimits, limit_reached

BOTH = TimeLimits(idle_s=10, total_s=60)


@pytest.mark.parametrize(
    ("moved_s", "now_s", "limits", "reached"),
    [
        (100, 109.9, BOTH, None),
        (100, 110, BOTH, Limit.IDLE),
        (155, 159, BOTH, None),
        (155, 160, BOTH, Limit.TOTAL),
        (100, 160, BOTH, Limit.TOTAL),
        (155, 1e9, TimeLimits(idle_s=None, total_s=None), None),
        (100, 1e9, TimeLimits(idle_s=10, total_s=None), Limit.IDLE),
        (100, 160, TimeLimits(idle_s=None, total_s=60), Limit.TOTAL),
    ],
)
def test_limits(moved_s: float, now_s: float, limits: TimeLimits, reached: Limit | None) -> None:
    assert limit_reached(Seen(began_s=100, moves=3, moved_s=moved_s), now_s, limits) is reached


def test_only_what_has_moved_counts_from_anew() -> None:
    seen = Seen(began_s=0, moves=3, moved_s=5)
    assert seen.again(3, 9) == seen
    assert seen.again(4, 9) == Seen(began_s=0, moves=4, moved_s=9)


def test_the_shortest_limit_says_how_often_one_has_to_look() -> None:
    assert BOTH.shortest_s == 10
    assert TimeLimits(idle_s=None, total_s=7).shortest_s == 7
    assert TimeLimits(idle_s=None, total_s=None).shortest_s is None
