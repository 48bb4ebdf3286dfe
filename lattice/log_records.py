r"""Log records, as the Engine writes them into a container's log file and as Lattice keeps them: one JSON object per line.

    {"log":"GET /\n","stream":"stdout","time":"2026-11-27T10:00:00.123456789Z"}

Nothing is rewritten between the Engine's file and the store, so a node ships millions of lines without looking at one of them (a rewriting
agent took five times as long), and anybody can read a segment without Lattice.  The Engine cuts what is longer than 16 KiB into several records;
only the last of them has the newline at the end of its text.  Records are what is numbered; a line has the number of its last record.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

import orjson
import zstandard

from lattice.errors import Invalid

# An agent sends at most 1 MiB of zstd; what unpacks to more than this is an attack.
MAX_UNPACKED = 64 * 2**20
LONGEST_LINE = 64 * 1024
_LEVEL = 1  # zstd-3 saves nothing here (0.25 of the text instead of 0.24) and takes half as long again
_ENDS_A_LINE = b'\\n","stream":"'
_SECONDS = 19  # 2030-01-01T00:00:00, then a dot, up to nine digits and Z
# What the Engine writes as escapes, and those that have a short form (moby, daemon/logger/jsonfilelog/jsonlog).
_ESCAPED = re.compile('[\x00-\x1f"<>&\\\\\u2028\u2029]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r"}
# A record that is a line, with nothing in it that the Engine does not write.  Its text is taken as it stands, so not a quote too many may pass.
_WHOLE = re.compile(
    r'^\{"log":"([^"\\\x00-\x1f]*+(?:\\(?:["\\/rtbf]|u[0-9a-fA-F]{4}|n(?!"))[^"\\\x00-\x1f]*+)*+)\\n",'
    r'"stream":"(stdout|stderr)","time":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z"\}$',
    re.MULTILINE,
)
_AS_IT_IS = re.compile(r"[ !#-%\'-;=?-\[\]-~]+")


class Line(NamedTuple):
    """One line, or a part of one that is longer than 64 KiB."""

    number: int
    time_ns: int
    stream: str
    text: str


QuotedLine = tuple[str, str, str]
"""A line of one record, taken as it stands: when (RFC 3339 with nanoseconds, no zone), where, and its text as JSON without the quotes.  A plain
tuple, since a page has a thousand of them."""


def record(time_ns: int, stream: str, text: str) -> bytes:
    """A record with its newline, byte for byte as the Engine writes it; `text` has its own newline where it ends a line."""
    quoted = _ESCAPED.sub(_escape, text)
    return f'{{"log":"{quoted}","stream":"{stream}","time":"{_stamp(time_ns)}"}}\n'.encode()


def pack(records: bytes) -> bytes:
    """Records as they travel and are kept; also the lines of an answer."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress(records)


def unpack(body: bytes) -> bytes:
    """The records of a block.  Raises Invalid if it is not zstd or unpacks to too much."""
    try:
        size = zstandard.frame_content_size(body)
        if size > MAX_UNPACKED:
            raise Invalid(f"The block unpacks to {size} bytes; at most {MAX_UNPACKED} are taken.")
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=MAX_UNPACKED)
    except zstandard.ZstdError as error:
        raise Invalid(f"The block cannot be unpacked: {error}") from error


def count(records: bytes) -> int:
    """How many there are."""
    return records.count(b"\n")


def count_lines(records: bytes) -> int:
    """How many of them end a line; the others are pieces of one."""
    return records.count(_ENDS_A_LINE)


def split(records: bytes) -> list[bytes]:
    """Each without its newline.  Not `splitlines`, which would count a carriage return as the end of one."""
    return records.removesuffix(b"\n").split(b"\n")


def time_ns_of(one: bytes) -> int:
    """When a record was written, in nanoseconds since 1970.  Raises Invalid for what is no record."""
    start = one.rfind(b'"time":"')
    try:
        return _time_ns(one[start + 8 : one.index(b'"', start + 8)].decode())
    except (ValueError, IndexError) as error:
        raise Invalid("This is no log record: it does not end with a time.") from error


def ns_of_stamp(stamp: str) -> int:
    """When a quoted line was written, in nanoseconds since 1970."""
    return _time_ns(stamp + "Z")


def first_and_last_ns(records: bytes) -> tuple[int, int]:
    """When the first and the last record were written.  Raises Invalid."""
    end = len(records.rstrip(b"\n"))
    return time_ns_of(records[: records.find(b"\n")]), time_ns_of(
        records[records.rfind(b"\n", 0, end) + 1 : end]
    )


def lines(records: bytes, first: int) -> Iterator[Line]:
    """The lines of records of which the first has this number; a record that cannot be read is left out."""
    begun: dict[str, tuple[int, str]] = {}
    last = first - 1
    for last, raw in enumerate(split(records), first):
        parsed = _parse(raw)
        if parsed is None:
            continue
        text, stream, time_ns = parsed
        time_ns, before = begun.pop(stream, (time_ns, ""))
        text = before + text
        while len(text) > LONGEST_LINE:
            yield Line(last, time_ns, stream, text[:LONGEST_LINE])
            text = text[LONGEST_LINE:]
        if text.endswith("\n"):
            yield Line(last, time_ns, stream, text[:-1])
        elif text:
            begun[stream] = (time_ns, text)
    for stream, (time_ns, text) in begun.items():
        yield Line(last, time_ns, stream, text)


def newest_quoted(records: bytes, limit: int) -> list[QuotedLine] | None:
    """The last lines, the newest one last; None where one of them has several records or is not written as the Engine writes it."""
    found = _newest(records, limit)
    try:
        rows = _WHOLE.findall(found.decode())
        for second in {row[2] for row in rows}:
            _seconds(second)
        lines = [
            (f"{second}.{fraction:0<9}", stream, _with_short_escapes(quoted) if "\\u" in quoted else quoted)
            for quoted, stream, second, fraction in rows
        ]
    except ValueError:
        return None
    return lines if len(lines) == count(found) else None


def newest_lines(
    records: bytes, first: int, *, containing: str | None = None, pieces: bool = True
) -> Iterator[Line]:
    """The lines, the last one first, that contain a text; `pieces` says whether a line may have several records."""
    if pieces:
        chosen = [line for line in lines(records, first) if containing is None or containing in line.text]
        yield from reversed(chosen)
        return
    plain = containing is not None and _AS_IT_IS.fullmatch(containing) is not None
    candidates = _records_with(records, (containing or "").encode()) if plain else _all_records(records)
    for index, raw in candidates:
        parsed = _parse(raw)
        if parsed is not None and (containing is None or containing in parsed[0]):
            text, stream, time_ns = parsed
            yield Line(first + index, time_ns, stream, text.removesuffix("\n"))


def cut(records: bytes, first: int, wanted: tuple[int, int]) -> bytes:
    """Only the records numbered `wanted`, both included, of those that begin with `first`."""
    return b"\n".join([*split(records)[wanted[0] - first : wanted[1] - first + 1], b""])


def _newest(records: bytes, limit: int) -> bytes:
    """The last records."""
    before, *some = records.rsplit(b"\n", limit + 1)
    return records[len(before) + 1 :] if len(some) == limit + 1 else records


def _with_short_escapes(quoted: str) -> str:
    """A quoted text as everything else here quotes it: the Engine escapes also what need not be."""
    return orjson.dumps(orjson.loads(f'"{quoted}"')).decode()[1:-1]


def _all_records(records: bytes) -> Iterable[tuple[int, bytes]]:
    found = split(records)
    return zip(range(len(found) - 1, -1, -1), reversed(found), strict=True)


def _records_with(records: bytes, needle: bytes) -> Iterator[tuple[int, bytes]]:
    """Bytes are searched before anything is parsed: 20 times as fast."""
    end, index = len(records), -1
    while (hit := records.rfind(needle, 0, end)) != -1:
        if index < 0:
            index = records.count(b"\n")  # most blocks have no hit at all
        start, stop = records.rfind(b"\n", 0, hit) + 1, records.find(b"\n", hit)
        index -= records.count(b"\n", start, end)
        yield index, records[start:stop]
        end = start


def _parse(raw: bytes) -> tuple[str, str, int] | None:
    """Text, stream and time."""
    try:
        found = orjson.loads(raw)
        text, stream, time_ns = found["log"], found.get("stream", ""), _time_ns(found["time"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return (text, stream, time_ns) if isinstance(text, str) and isinstance(stream, str) else None


@lru_cache(maxsize=64)
def _seconds(text: str) -> int:
    """Lines come in bursts within one second, whose text is turned into a number once."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def _time_ns(stamp: str) -> int:
    fraction = stamp[_SECONDS + 1 : -1]
    return _seconds(stamp[:_SECONDS]) * 10**9 + (int(fraction.ljust(9, "0")) if fraction else 0)


def _stamp(time_ns: int) -> str:
    """RFC 3339 with nanoseconds, without zeros at the end, as the Engine writes it."""
    seconds, fraction = divmod(time_ns, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09}".rstrip("0").rstrip(".") + "Z" if fraction else text + "Z"


def _escape(match: re.Match[str]) -> str:
    return _SHORT.get(match[0]) or f"\\u{ord(match[0]):04x}"
