"""Lines as objects: JSON lines packed with zstd, one object for each workload of a batch.  Pure.

An object is named by what is in it, so what is sent twice replaces itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

import zstandard

from services.logs.exporting import json_lines
from services.logs.exporting.batches import Exported


class Object(NamedTuple):
    """What is put where."""

    key: str
    content: bytes


def objects(lines: Iterable[Exported]) -> list[Object]:
    """The objects of a batch."""
    found: dict[tuple[str, str], list[Exported]] = {}
    for exported in lines:
        found.setdefault((exported.place.project, exported.place.workload), []).append(exported)
    return [_object(project, workload, some) for (project, workload), some in found.items()]


def _object(project: str, workload: str, lines: list[Exported]) -> Object:
    text = json_lines.payload(sorted(lines, key=lambda each: each.line.time_ns))
    first = datetime.fromtimestamp(min(each.line.time_ns for each in lines) // 10**9, UTC)
    name = f"{first:%Y/%m/%d/%H%M%S}-{sha256(text).hexdigest()[:16]}.jsonl.zst"
    return Object(f"{project}/{workload}/{name}", zstandard.ZstdCompressor().compress(text))
