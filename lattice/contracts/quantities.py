"""Amounts as people write them: `512Mi`, `5Gi`, `0.5` cores, `30s`, `2m`.  Stored and sent as plain numbers with the unit in the name."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*([KMGT]i?B?|B)?$")
_UNIT_BYTES = {
    "": 1, "B": 1,
    "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_DURATION = re.compile(r"^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?$")
_MAX_BYTES = 2**60


def parse_size(text: object) -> int:
    """Bytes from `512Mi`, `5G`, `1048576` or a whole number; ValueError says what is accepted."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    match = _SIZE.match(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError("write a size as 512Mi, 5Gi, 500M or a whole number of bytes")
    unit = (match[2] or "").removesuffix("B") if match[2] != "B" else "B"
    return int(float(match[1]) * _UNIT_BYTES[unit])


def parse_duration_s(text: object) -> float:
    """Seconds from `30s`, `2m`, `1h30m`, or a number of seconds; ValueError says what is accepted."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text)
    match = _DURATION.match(text.strip()) if isinstance(text, str) and text.strip() else None
    if match is None:
        raise ValueError("write a duration as 30s, 2m, 1h30m or a number of seconds")
    return int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + float(match[3] or 0)


def format_size(size_bytes: int) -> str:
    """`536870912` as `512 MiB`: the largest binary unit that leaves at least 1."""
    amount = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:.4g} TiB"


def _millis(cores: Any) -> int:
    if isinstance(cores, bool) or not isinstance(cores, (int, float, str)):
        raise ValueError("write cores as 0.5, 2 or 500m")
    try:
        if isinstance(cores, str) and cores.endswith("m"):
            return int(cores[:-1])
        return round(float(cores) * 1000)
    except (ValueError, OverflowError) as error:
        raise ValueError("write cores as 0.5, 2 or 500m") from error


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

SizeBytes = Annotated[
    int,
    Field(ge=0, le=_MAX_BYTES),
    BeforeValidator(parse_size),
    WithJsonSchema(_SIZE_SCHEMA, mode="validation"),
]
DurationS = Annotated[
    float,
    Field(ge=0, le=366 * 86400),
    BeforeValidator(parse_duration_s),
    WithJsonSchema(_DURATION_SCHEMA, mode="validation"),
]
CpuMillis = Annotated[
    int,
    Field(ge=0, le=1_000_000),
    BeforeValidator(_millis),
    # Written back as cores, the unit in which it is read: 500 thousandths must not come back as 500 cores.
    PlainSerializer(lambda millis: millis / 1000, return_type=float),
    WithJsonSchema(_CORES_SCHEMA, mode="validation"),
]
