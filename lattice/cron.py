"""When a schedule is due: five cron fields, read in a time zone.  Pure: the zone database is the only thing that is looked up.

A schedule names times on a wall clock, and each of them is one instant: a time that the clock skips in spring is due as long after midnight as
always (02:30 becomes 03:30), and one that it shows twice in autumn is due the first time only.  So a skipped hour and a repeated one run once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SHORT: Mapping[str, str] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# 29 February may be eight years away (1896 to 1904, 2096 to 2104).
_FARTHEST_DAYS = 9 * 366
# No zone has ever been moved by more than a day at once.
_SLACK_DAYS = 2


@dataclass(frozen=True, slots=True)
class _Field:
    """What one of the five fields may hold."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def values(self, text: str) -> frozenset[int]:
        """The numbers that a field names; ValueError says what is wrong."""
        return frozenset(value for part in text.split(",") for value in self._part(part))

    def _part(self, part: str) -> range:
        span, slash, step_text = part.partition("/")
        step = self._step(part, step_text) if slash else 1
        if span == "*":
            return range(self.low, self.high + 1, step)
        first, dash, last = span.partition("-")
        low = self._number(part, first)
        high = self._number(part, last) if dash else self.high if slash else low
        if low > high:
            raise ValueError(f"{self.name}: {part!r} ends before it begins")
        return range(low, high + 1, step)

    def _step(self, part: str, text: str) -> int:
        if not (text.isascii() and text.isdigit()) or int(text) == 0:
            raise ValueError(f"{self.name}: the step in {part!r} is not a number above 0")
        return int(text)

    def _number(self, part: str, text: str) -> int:
        if text.lower() in self.names:
            return self.names.index(text.lower()) + self.low
        if not (text.isascii() and text.isdigit()) or not self.low <= int(text) <= self.high:
            raise ValueError(f"{self.name}: cannot read {part!r}; it holds {self.low} to {self.high}")
        return int(text)


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule that was read.  Where both days are restricted, either of them is enough, as everywhere in cron."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def fits(self, day: date) -> bool:
        """Whether it is due at all on a day."""
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return by_date and by_weekday
        return by_date or by_weekday

    def times(self, day: date, where: ZoneInfo) -> Iterator[datetime]:
        """Every time of a day at which it is due, on the wall clock of a zone."""
        if self.fits(day):
            for hour in self.hours:
                for minute in self.minutes:
                    yield datetime(day.year, day.month, day.day, hour, minute, tzinfo=where)


@lru_cache(maxsize=256)
def parse(text: str) -> Cron:
    """The schedule that `0 3 * * mon-fri` or `@daily` means; ValueError says what cannot be read, and that it is never due."""
    fields = _SHORT.get(text.strip().lower(), text).split()
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"cannot read {text!r}: write five fields (minute hour day-of-month month day-of-week), such as '0 3 * * *', "
            "or one of @hourly, @daily, @weekly, @monthly, @yearly"
        )
    minutes, hours, days, months, weekdays = (
        field.values(part) for field, part in zip(_FIELDS, fields, strict=True)
    )
    cron = Cron(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=days,
        months=months,
        weekdays=frozenset(number % 7 for number in weekdays),
        any_day=fields[2].startswith("*"),
        any_weekday=fields[4].startswith("*"),
    )
    if not any(cron.fits(date(2000, 1, 1) + timedelta(days=days)) for days in range(_FARTHEST_DAYS)):
        raise ValueError(f"{text!r} names a day that no year has")
    return cron


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo:
    """A time zone by its name in the zone database; ValueError for one that is not there."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"there is no time zone {name!r}; write a name of the zone database, such as Europe/Berlin or UTC"
        ) from None


@lru_cache(maxsize=512)
def _instants(text: str, timezone: str, day: date) -> tuple[datetime, ...]:
    """When a schedule is due by one day of the wall clock, in order."""
    where = zone(timezone)
    return tuple(sorted({at.astimezone(UTC) for at in parse(text).times(day, where)}))


@lru_cache(maxsize=1024)
def next_after(text: str, timezone: str, after: datetime) -> datetime:
    """The first instant after this one at which a schedule is due, in UTC."""
    first = after.astimezone(zone(timezone)).date() - timedelta(days=_SLACK_DAYS)
    for number in range(_FARTHEST_DAYS):
        day = first + timedelta(days=number)
        if found := _later(_instants(text, timezone, day), after):
            # A skipped time may be due after the first ones of the day that follows.
            following = _later(_instants(text, timezone, day + timedelta(days=1)), after)
            return min([found[0], *following[:1]])
    raise ValueError(f"{text!r} is never due")


def between(text: str, timezone: str, after: datetime, until: datetime) -> tuple[datetime, ...]:
    """Every instant in (after, until] at which a schedule is due, oldest first; meant for short spans."""
    found: set[datetime] = set()
    for day in _days(timezone, after, until):
        times = _instants(text, timezone, day)
        found.update(times[bisect_right(times, after) : bisect_right(times, until)])
    return tuple(sorted(found))


def newest_between(text: str, timezone: str, after: datetime, until: datetime) -> datetime | None:
    """The newest instant in (after, until] at which a schedule was due, however long ago that began; None where there is none."""
    newest: datetime | None = None
    for number, day in enumerate(reversed(_days(timezone, after, until))):
        times = _instants(text, timezone, day)
        found = times[bisect_right(times, after) : bisect_right(times, until)]
        newest = max([*found[-1:], *([newest] if newest else [])], default=None)
        if newest is not None and number > 2 * _SLACK_DAYS:
            break
    return newest


def _later(times: Sequence[datetime], after: datetime) -> Sequence[datetime]:
    return times[bisect_left(times, after + timedelta(microseconds=1)) :]


def _days(timezone: str, after: datetime, until: datetime) -> Sequence[date]:
    """The days of the wall clock that may hold an instant of a span; at most so many as a schedule can be apart."""
    last = until.astimezone(zone(timezone)).date() + timedelta(days=_SLACK_DAYS)
    first = after.astimezone(zone(timezone)).date() - timedelta(days=_SLACK_DAYS)
    count = min((last - first).days, _FARTHEST_DAYS) + 1
    return [last - timedelta(days=number) for number in reversed(range(count))]
