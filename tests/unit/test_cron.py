"""Schedules: what is read, what is refused, and when they are due, against a clock that is walked minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lattice import cron

BERLIN = "Europe/Berlin"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("text", "after", "due"),
    [
        ("0 3 * * *", utc(2026, 1, 1, 3), utc(2026, 1, 2, 3)),
        ("*/15 * * * *", utc(2026, 1, 1, 3, 1), utc(2026, 1, 1, 3, 15)),
        ("5-59/20 4 * * *", utc(2026, 1, 1, 4, 5), utc(2026, 1, 1, 4, 25)),
        ("10/25 4 * * *", utc(2026, 1, 1, 4, 10), utc(2026, 1, 1, 4, 35)),
        ("0 0 1 jan *", utc(2026, 1, 1), utc(2027, 1, 1)),
        ("0 0 * * Mon-Fri", utc(2026, 1, 2), utc(2026, 1, 5)),
        ("0 0 * * 7", utc(2026, 1, 1), utc(2026, 1, 4)),
        ("0 0 13 * fri", utc(2026, 1, 1), utc(2026, 1, 2)),  # either day is enough
        ("0 0 29 2 *", utc(2026, 1, 1), utc(2028, 2, 29)),
        ("0 0 29 2 *", utc(2096, 3, 1), utc(2104, 2, 29)),
        ("@hourly", utc(2026, 1, 1, 0, 30), utc(2026, 1, 1, 1)),
        ("@weekly", utc(2026, 1, 1), utc(2026, 1, 4)),
    ],
)
def test_it_is_due_next(text: str, after: datetime, due: datetime) -> None:
    assert cron.next_after(text, "UTC", after) == due


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0 3 * *", "five fields"),
        ("0 0 3 * * *", "five fields"),
        ("60 * * * *", "minute: cannot read '60'"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of month"),
        ("* * * foo *", "month"),
        ("* * * * 8", "day of week"),
        ("*/0 * * * *", "step"),
        ("9-5 * * * *", "ends before it begins"),
        ("\u0663 * * * *", "minute"),
        ("0 0 30 2 *", "no year has"),
        ("@reboot", "five fields"),
    ],
)
def test_what_cannot_be_read_is_refused_and_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        cron.parse(text)


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "../etc/passwd", "/etc/localtime"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        cron.zone(name)


def test_a_skipped_time_is_due_once() -> None:
    """On 29 March 2026 the clock in Berlin goes from 02:00 to 03:00."""
    due = cron.between("30 2 * * *", BERLIN, utc(2026, 3, 28, 12), utc(2026, 3, 30, 12))
    assert due == (utc(2026, 3, 29, 1, 30), utc(2026, 3, 30, 0, 30))
    each = cron.between("*/15 * * * *", BERLIN, utc(2026, 3, 29, 0, 30), utc(2026, 3, 29, 2))
    assert each == tuple(utc(2026, 3, 29, 0, 30) + timedelta(minutes=15 * n) for n in range(1, 7))


def test_a_repeated_time_is_due_once() -> None:
    """On 25 October 2026 the clock in Berlin shows 02:30 twice."""
    due = cron.between("30 2 * * *", BERLIN, utc(2026, 10, 24, 12), utc(2026, 10, 26, 12))
    assert due == (utc(2026, 10, 25, 0, 30), utc(2026, 10, 26, 1, 30))


def test_the_newest_missed_one_is_found_however_long_ago() -> None:
    assert cron.newest_between("0 3 1 * *", "UTC", utc(2024, 1, 1), utc(2026, 1, 15)) == utc(2026, 1, 1, 3)
    assert cron.newest_between("0 3 1 7 *", "UTC", utc(2024, 1, 1), utc(2026, 1, 15)) == utc(2025, 7, 1, 3)
    assert cron.newest_between("0 3 1 7 *", "UTC", utc(2025, 8, 1), utc(2026, 1, 15)) is None


# ------------------------------------------------------------------------------------------------ against an oracle

_zones = st.sampled_from(
    ["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kolkata"]
)


def _field(low: int, high: int) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    """A field as text, and what it means."""
    numbers = st.integers(low, high)
    everything = st.integers(1, 20).map(lambda step: (f"*/{step}", frozenset(range(low, high + 1, step))))
    spans = st.tuples(numbers, numbers, st.integers(1, 5)).map(
        lambda t: (
            f"{min(t[0], t[1])}-{max(t[0], t[1])}/{t[2]}",
            frozenset(range(min(t[0], t[1]), max(t[0], t[1]) + 1, t[2])),
        )
    )
    lists = st.lists(numbers, min_size=1, max_size=4).map(lambda n: (",".join(map(str, n)), frozenset(n)))
    star = st.just(("*", frozenset(range(low, high + 1))))
    return st.one_of(star, everything, spans, lists)


_schedules = st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 6))
_starts = st.one_of(
    st.integers(0, 10 * 365 * 1440).map(lambda minutes: utc(2020, 1, 1) + timedelta(minutes=minutes)),
    st.sampled_from([utc(2026, 3, 28), utc(2026, 10, 24), utc(2026, 4, 4), utc(2011, 12, 29)]),
)


def _oracle(
    fields: tuple[tuple[str, frozenset[int]], ...], timezone: str, after: datetime, until: datetime
) -> set[datetime]:
    """Walks the wall clock minute by minute, also over what it skips."""
    (_, minutes), (_, hours), (day_text, days), (_, months), (week_text, weekdays) = fields
    either = not day_text.startswith("*") and not week_text.startswith("*")
    wall, due = after.replace(tzinfo=None, second=0, microsecond=0) - timedelta(hours=30), set()
    while wall < until.replace(tzinfo=None) + timedelta(hours=30):
        by_date, by_weekday = wall.day in days, wall.isoweekday() % 7 in weekdays
        fits = (by_date or by_weekday) if either else (by_date and by_weekday)
        if wall.minute in minutes and wall.hour in hours and wall.month in months and fits:
            due.add(wall.replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC))
        wall += timedelta(minutes=1)
    return {at for at in due if after < at <= until}


@settings(max_examples=40, deadline=None)
@given(_schedules, _zones, _starts, st.integers(1, 30))
def test_it_is_due_when_the_wall_clock_says_so(
    fields: tuple[tuple[str, frozenset[int]], ...], timezone: str, start: datetime, hours: int
) -> None:
    text, after = " ".join(text for text, _ in fields), start
    until = after + timedelta(hours=hours)
    try:
        cron.parse(text)
    except ValueError:
        return  # a day that no year has
    expected = sorted(_oracle(fields, timezone, after, until))
    assert list(cron.between(text, timezone, after, until)) == expected
    assert cron.newest_between(text, timezone, after, until) == (expected[-1] if expected else None)
    following = cron.next_after(text, timezone, after)
    assert following > until if not expected else following == expected[0]
