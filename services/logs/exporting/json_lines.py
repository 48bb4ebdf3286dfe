"""Lines as JSON objects, one a line, with nanoseconds: what a webhook gets and what is in an object of S3.  Pure."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from lattice.log_shown import exact_time_text
from services.logs.exporting.batches import Exported


def payload(lines: Iterable[Exported]) -> bytes:
    """All of them, each with its newline."""
    return b"".join(orjson.dumps(_fields(exported)) + b"\n" for exported in lines)


def _fields(exported: Exported) -> dict[str, object]:
    return {
        "time": exact_time_text(exported.line.time_ns), **exported.place._asdict(), "source": exported.source,
        "number": exported.line.number, "stream": exported.line.stream, "level": exported.level, "message": exported.line.text,
    }  # fmt: skip
