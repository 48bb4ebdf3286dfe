"""Amounts as compose files write them: `512m`, `1.5gb`, `1m30s`, `500ms`.  Units as Docker reads them: sizes in powers of 1024."""

from __future__ import annotations

import re

_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?$", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)")
_UNIT_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def size_bytes(written: object) -> int:
    """Bytes; ValueError says what is accepted."""
    match = _SIZE.match(_text(written))
    if match is None:
        raise ValueError("write a size as 512m, 2g or a whole number of bytes")
    return int(float(match[1]) * 1024 ** _POWERS[match[2].lower()])


def duration_s(written: object) -> float:
    """Seconds; ValueError says what is accepted."""
    text = _text(written)
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("write a duration with its unit, such as 30s, 1m30s or 500ms")
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def cores(written: object) -> float:
    """Cores from `0.5` or `"0.5"`; ValueError says what is accepted."""
    try:
        amount = float(_text(written))
    except ValueError:
        amount = -1.0
    if not 0 < amount <= 1000:
        raise ValueError("write cores as 0.5 or 2")
    return amount


def whole(written: object) -> int:
    """A whole number, also where a variable made a text of it; ValueError says what is accepted."""
    text = _text(written)
    if not re.fullmatch(r"\d{1,9}", text):
        raise ValueError("write a whole number")
    return int(text)


def is_true(written: object) -> bool:
    """Yes or no, also where a variable made a text of it; ValueError says what is accepted."""
    if written in (True, "true"):
        return True
    if written in (False, "false"):
        return False
    raise ValueError("write true or false")


def _text(written: object) -> str:
    """The scalar as text; whatever else stands there becomes a text that no pattern accepts."""
    scalar = isinstance(written, (str, int, float)) and not isinstance(written, bool)
    return str(written).strip() if scalar else "?"
