"""Times and steps as Loki's clients write them.  Pure."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from lattice.errors import Invalid
from services.gateway.log_lines import time_ns_of
from services.gateway.logql_words import duration_ns

_NS = 10**9
_WHOLE = re.compile(r"-?\d{1,19}")
_DECIMAL = re.compile(r"-?\d{1,12}\.\d{1,12}|\d(?:\.\d+)?[eE]\+?\d{1,2}")
_DURATION = re.compile(r"(?:\d{1,12}(?:\.\d{1,9})?(?:ns|us|µs|ms|s|m|h|d|w|y)){1,8}")
_MOST_SECONDS_DIGITS = 10  # a longer number is of nanoseconds
_FINER = re.compile(r"\.(\d{1,9})")
# What the store's numbers can hold.
_LAST_NS = 2**63 - 1


def time_ns(text: str, name: str) -> int:
    """Nanoseconds since 1970 of seconds, nanoseconds or RFC 3339.  Raises Invalid."""
    if _WHOLE.fullmatch(text):
        number = int(text)
        found = number if len(text.lstrip("-")) > _MOST_SECONDS_DIGITS else number * _NS
    elif _DECIMAL.fullmatch(text):
        found = round(float(text) * _NS)
    else:
        found = _of_date(text, name)
    if abs(found) > _LAST_NS:
        raise Invalid(f"{name}={text} is out of range.")
    return found


def span_ns(text: str, name: str) -> int:
    """Nanoseconds of a number of seconds, or of `1h30m`.  Raises Invalid unless it is more than nothing."""
    if _DURATION.fullmatch(text):
        found = duration_ns(text)
    else:
        try:
            seconds = float(text)
        except ValueError as error:
            raise Invalid(f"{name}={text} is no duration: write seconds, or 30s, 5m, 1h.") from error
        found = round(seconds * _NS) if math.isfinite(seconds) else 0
    if not 0 < found <= _LAST_NS:
        raise Invalid(f"{name}={text} is not more than nothing, or too long.")
    return found


def _of_date(text: str, name: str) -> int:
    try:
        date = datetime.fromisoformat(_FINER.sub(lambda match: "." + match[1][:6].ljust(6, "0"), text))
        return time_ns_of(date.replace(tzinfo=date.tzinfo or UTC).astimezone(UTC))
    except (ValueError, OverflowError) as error:
        detail = "write seconds or nanoseconds since 1970, or RFC 3339"
        raise Invalid(f"{name}={text} is no time: {detail}.") from error
