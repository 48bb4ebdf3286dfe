"""When a node's disk is too full for new work, and when it is no longer."""

from __future__ import annotations

from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from services.registry.disk_watermark import DEFAULT_WATERMARK, DiskFull, Watermark, disk_full

TOTAL = 1000
OFF = Watermark(refuse_above_percent=100, accept_below_percent=100)
marks = st.tuples(st.integers(1, 100), st.integers(1, 100)).map(
    lambda two: Watermark(refuse_above_percent=max(two), accept_below_percent=min(two))
)


def at(used: int, known: DiskFull | None = None, watermark: Watermark = DEFAULT_WATERMARK) -> DiskFull | None:
    return disk_full(known, used, TOTAL - used, watermark)


def test_above_the_mark_it_is_full_and_between_the_marks_it_stays_as_it_was() -> None:
    assert at(850) is None
    full = at(851)
    assert full is not None
    assert full.reason == "disk 86 % full, new work is refused above 85 %"
    between = at(820, full)
    assert between is not None
    assert between.reason == "disk 82 % full, new work is refused until it is below 80 %"
    assert at(820) is None
    assert at(790, between) is None


@given(used=st.lists(st.integers(0, TOTAL)), watermark=marks)
def test_whatever_comes_it_is_full_above_open_below_and_unchanged_between(
    used: list[int], watermark: Watermark
) -> None:
    known: DiskFull | None = None
    for each in used:
        found = at(each, known, watermark)
        if each * 100 > watermark.refuse_above_percent * TOTAL:
            assert found is not None
        elif each * 100 <= (watermark.accept_below_percent - 1) * TOTAL:
            assert found is None
        if found is not None and known is not None:
            assert found == known or abs(found.percent - known.percent) >= 2
        known = found


@given(used=st.integers(0, TOTAL))
def test_a_mark_of_100_is_never_passed(used: int) -> None:
    assert at(used, None, OFF) is None


def test_a_disk_of_which_nothing_is_known_keeps_nobody_away() -> None:
    assert disk_full(None, 900, None, DEFAULT_WATERMARK) is None
    assert disk_full(None, 0, 0, DEFAULT_WATERMARK) is None


def test_it_is_stored_and_read_back() -> None:
    full = at(910)
    assert full is not None
    assert DiskFull.read(asdict(full)) == full
