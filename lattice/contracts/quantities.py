"""Amounts as people write them: `512Mi`, `5Gi`, `0.5` cores, `30s`, `2m`.  Stored and sent as plain numbers with the unit in the name."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*([KMGT]i?B?|B)?$")
_UNIT_BYTES = {
    "": 1, "B": 1,
    "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_DURATION = re.compile(r"^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?$")
_MAX_BYTES = 2**60
_MAX_S = 366 * 86_400
_MAX_MILLIS = 1_000_000


def parse_size(text: object) -> int:
    """Bytes from `512Mi`, `5G`, `1048576` or a whole number; ValueError says what is accepted."""
    if isinstance(text, int) and not isinstance(text, bool) and 0 <= text <= _MAX_BYTES:
        return text
    match = _SIZE.match(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError("write a size as 512Mi, 5Gi, 500M or a whole number of bytes")
    unit = (match[2] or "").removesuffix("B") if match[2] != "B" else "B"
    size_bytes = int(float(match[1]) * _UNIT_BYTES[unit])
    if size_bytes > _MAX_BYTES:
        raise ValueError("a size can be 1 EiB at most")
    return size_bytes


def parse_duration_s(text: object) -> float:
    """Seconds from `30s`, `2m`, `1h30m`, or a number of seconds; ValueError says what is accepted."""
    if isinstance(text, (int, float)) and not isinstance(text, bool) and 0 <= text <= _MAX_S:
        return float(text)
    match = _DURATION.match(text.strip()) if isinstance(text, str) and text.strip() else None
    if match is None:
        raise ValueError("write a duration as 30s, 2m, 1h30m or a number of seconds")
    duration_s = int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + float(match[3] or 0)
    if duration_s > _MAX_S:
        raise ValueError("a duration can be 366 days at most")
    return duration_s


def format_size(size_bytes: int) -> str:
    """`536870912` as `512 MiB`: the largest binary unit that leaves at least 1."""
    amount = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:.4g} TiB"


def parse_cores(text: object) -> int:
    """Thousandths of a core from `0.5`, `2` or `500m`; ValueError says what is accepted."""
    millis = _millis(text) if isinstance(text, (int, float, str)) and not isinstance(text, bool) else None
    if millis is None or not 0 <= millis <= _MAX_MILLIS:
        raise ValueError("write cores as 0.5, 2 or 500m, at most 1000")
    return millis


def _millis(text: float | str) -> int | None:
    try:
        if isinstance(text, str) and text.endswith("m"):
            return int(text[:-1])
        return round(float(text) * 1000)
    except (ValueError, OverflowError):
        return None


_SIZE_SCHEMA = {
    "oneOf": [
        {"type": "integer", "minimum": 0, "maximum": _MAX_BYTES},
        {"type": "string", "pattern": r"^\d{1,9}(Ki|Mi|Gi|Ti|K|M|G)?$"},
    ],
    "examples": ["512Mi"],
}
_DURATION_SCHEMA = {
    "oneOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d{1,6}(s|m|h)$"}],
    "examples": ["30s"],
}
_CORES_SCHEMA = {
    "oneOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d{1,6}m$"}],
    "examples": [0.5],
}

# The bounds stand in the parsers: a bound of a field (`Field(ge=…)`) would be replaced by one given here.
SizeBytes = Annotated[int, BeforeValidator(parse_size), WithJsonSchema(_SIZE_SCHEMA, mode="validation")]
DurationS = Annotated[
    float, BeforeValidator(parse_duration_s), WithJsonSchema(_DURATION_SCHEMA, mode="validation")
]
CpuMillis = Annotated[
    int,
    BeforeValidator(parse_cores),
    # Written back as cores, the unit in which it is read: 500 thousandths must not come back as 500 cores.
    PlainSerializer(lambda millis: millis / 1000, return_type=float),
    WithJsonSchema(_CORES_SCHEMA, mode="validation"),
]
