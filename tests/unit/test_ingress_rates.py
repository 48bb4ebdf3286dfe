"""How often a visitor may ask, and how little is remembered of that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingress.rates import Rate, Rates

A_MINUTE = Rate(amount=6, window_s=60)
ANN, BOB = ("rt-1", "192.0.2.1"), ("rt-1", "192.0.2.2")


def asked(rates: Rates, times_s: list[float], rate: Rate = A_MINUTE) -> list[bool]:
    return [rates.may_ask(ANN, rate, now_s) for now_s in times_s]


def test_all_at_once_and_then_one_after_the_other() -> None:
    rates = Rates()
    assert asked(rates, [0.0] * 7) == [True] * 6 + [False]
    assert asked(rates, [9.0, 10.0, 10.0, 19.0, 20.0]) == [False, True, False, False, True]
    assert asked(rates, [80.0] * 7) == [True] * 6 + [False]


def test_each_visitor_has_their_own() -> None:
    rates = Rates()
    assert asked(rates, [0.0] * 7)[-1] is False
    assert rates.may_ask(BOB, A_MINUTE, 0.0)


@pytest.mark.parametrize("amount", [1, 3, 7, 100, 9_999_999])
@pytest.mark.parametrize("window_s", [1, 60, 3600])
def test_sums_of_floats_cost_nobody_a_request(amount: int, window_s: float) -> None:
    rate, rates, tries = Rate(amount, window_s), Rates(), min(amount, 1000)
    assert all(asked(rates, [1e6] * tries, rate))
    if tries == amount:
        assert asked(rates, [1e6], rate) == [False]


@given(st.lists(st.floats(0, 300), max_size=200))
def test_never_more_than_twice_as_much_in_one_window(times_s: list[float]) -> None:
    times_s.sort()
    let_in = [at for at, may in zip(times_s, asked(Rates(), times_s), strict=True) if may]
    for at in let_in:
        assert sum(at <= other < at + A_MINUTE.window_s for other in let_in) <= 2 * A_MINUTE.amount


def test_who_has_a_full_bucket_again_is_forgotten() -> None:
    rates = Rates()
    for number in range(1000):
        rates.may_ask(("rt-1", str(number)), A_MINUTE, float(number))
    assert len(rates) == 10, "those of the last ten seconds"


def test_of_too_many_those_who_asked_longest_ago_are_forgotten() -> None:
    rates = Rates(most_remembered=3)
    asked(rates, [0.0] * 6)
    for number in range(3):
        assert rates.may_ask(("rt-1", str(number)), A_MINUTE, 0.0)
    assert len(rates) == 3
    assert rates.may_ask(ANN, A_MINUTE, 0.0), "begins anew"


def test_who_is_refused_is_not_remembered_for_longer() -> None:
    rates = Rates(most_remembered=2)
    asked(rates, [0.0] * 6)
    rates.may_ask(BOB, A_MINUTE, 0.0)
    assert asked(rates, [0.0]) == [False]
    rates.may_ask(("rt-1", "other"), A_MINUTE, 0.0)
    assert rates.may_ask(ANN, A_MINUTE, 0.0), "asking in vain is no way to keep a place"
