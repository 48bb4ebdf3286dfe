"""The body of a block: zstd over NDJSON.  Taken in as bytes; only a query, or a block that overlaps another, looks at lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import zstandard

from lattice.errors import Invalid
from services.logs.coverage import Range

# An agent sends at most 1 MiB of zstd; what unpacks to more than this is an attack.
MAX_UNPACKED = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Line:
    """One log line of a block."""

    number: int
    time_ns: int
    stream: str
    text: str


def unpack(body: bytes) -> bytes:
    """The NDJSON of a block; Invalid if it is not zstd or unpacks to too much."""
    try:
        size = zstandard.frame_content_size(body)
        if size > MAX_UNPACKED:
            raise Invalid(f"The block unpacks to {size} bytes; at most {MAX_UNPACKED} are taken.")
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=MAX_UNPACKED)
    except zstandard.ZstdError as error:
        raise Invalid(f"The block cannot be unpacked: {error}") from error


def check(body: bytes, first: int, last: int) -> None:
    """Invalid unless the block has exactly the lines that its description numbers."""
    data = unpack(body)
    lines = data.count(b"\n")
    if first < 0 or lines == 0 or lines != last - first + 1 or not data.endswith(b"\n"):
        raise Invalid(f"The block holds {lines} whole lines and is said to hold {first} to {last}.")


def cut(body: bytes, first: int, wanted: Range) -> bytes:
    """A block with only the lines numbered `wanted`, of one that begins with line `first`."""
    chosen = _split(unpack(body))[wanted[0] - first : wanted[1] - first + 1]
    return zstandard.ZstdCompressor(level=1).compress(b"\n".join([*chosen, b""]))


def times(body: bytes) -> tuple[int, int]:
    """When the first and the last line were printed, in nanoseconds."""
    lines = _split(unpack(body))
    first, last = _parse(lines[0]), _parse(lines[-1])
    if first is None or last is None:
        raise Invalid("The block holds a line that cannot be read.")
    return first[0], last[0]


def newest_lines(body: bytes, first: int, grep: str | None) -> Iterator[Line]:
    """The lines that contain `grep`, the last one first; a line that cannot be read is left out."""
    data = unpack(body)
    candidates = _lines_with(data, grep.encode()) if grep and _is_plain(grep) else _all_lines(data)
    for index, raw in candidates:
        parsed = _parse(raw)
        if parsed is not None and (grep is None or grep in parsed[2]):
            yield Line(first + index, *parsed)


def _is_plain(grep: str) -> bool:
    """Whether JSON writes the text as it is, so that bytes can be searched before anything is parsed: 20 times as fast."""
    return grep.isascii() and json.dumps(grep) == f'"{grep}"' and "/" not in grep


def _all_lines(data: bytes) -> Iterable[tuple[int, bytes]]:
    lines = _split(data)
    return zip(range(len(lines) - 1, -1, -1), reversed(lines), strict=True)


def _split(data: bytes) -> list[bytes]:
    """Not `splitlines`, which would count a carriage return as the end of a line."""
    return data.removesuffix(b"\n").split(b"\n")


def _lines_with(data: bytes, needle: bytes) -> Iterator[tuple[int, bytes]]:
    end, index = len(data), data.count(b"\n")
    while (hit := data.rfind(needle, 0, end)) != -1:
        start, stop = data.rfind(b"\n", 0, hit) + 1, data.find(b"\n", hit)
        index -= data.count(b"\n", start, end)
        yield index, data[start:stop]
        end = start


def _parse(raw: bytes) -> tuple[int, str, str] | None:
    try:
        parsed: Any = json.loads(raw)
        time_ns, stream, text = parsed
    except (ValueError, TypeError):
        return None
    if not isinstance(time_ns, int) or not isinstance(stream, str) or not isinstance(text, str):
        return None
    return time_ns, stream, text
