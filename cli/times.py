"""Times as people read and write them: `3m` ago, `--since 1h`.  Machines get RFC 3339 in UTC.  The present is an argument."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from cli.errors import usage

_DURATION = re.compile(r"^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?$")


def parse_duration_s(text: str) -> float:
    """Seconds from `90`, `30s`, `2m`, `1h30m`, `7d`; a wrong one is a usage error."""
    match = _DURATION.match(text.strip())
    if match is None or not any(match.groups()):
        raise usage(f"Cannot read the duration {text!r}.", todo="write it as 30s, 5m, 1h30m or 7d")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * 86_400 + hours * 3_600 + minutes * 60 + seconds


def moment(text: str, *, now: datetime) -> str:
    """RFC 3339 for a moment given as itself or as a time before `now` (`1h`)."""
    return _moment(text, now, direction=-1)


def coming_moment(text: str, *, now: datetime) -> str:
    """RFC 3339 for a moment given as itself or as a time after `now` (`1h`)."""
    return _moment(text, now, direction=1)


def _moment(text: str, now: datetime, *, direction: int) -> str:
    if _DURATION.match(text.strip()):
        return rfc3339(now + direction * timedelta(seconds=parse_duration_s(text)))
    try:
        return rfc3339(_aware(datetime.fromisoformat(text)))
    except ValueError as error:
        raise usage(
            f"Cannot read the time {text!r}.", todo="write 15m, 1h, or a time such as 2026-03-01T12:00:00Z"
        ) from error


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def rfc3339(time: datetime) -> str:
    """`time` in UTC with a `Z`."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """The moment that a platform wrote; ValueError if it is none."""
    return _aware(datetime.fromisoformat(text))


def ago(text: str | None, *, now: datetime) -> str:
    """`3m` for three minutes before (or after) `now`; `-` where there is no time."""
    if not text:
        return "-"
    try:
        return short_duration(abs((now - parse_time(text)).total_seconds()))
    except ValueError:
        return text


def short_duration(seconds: float) -> str:
    """The two largest units, rounded down: `45s`, `3m`, `2h`, `5d`."""
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size_s or (size_s == 60 and seconds >= size_s):
            return f"{int(seconds // size_s)}{unit}"
    return f"{int(seconds)}s"


def elapsed(seconds: float) -> str:
    """How long something takes so far: `42s`, `3m05s`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def to_the_second(text: str) -> str:
    """A time that the platform wrote, without what nobody reads; as it is where it cannot be read."""
    try:
        return rfc3339(parse_time(text).replace(microsecond=0))
    except ValueError:
        return text
