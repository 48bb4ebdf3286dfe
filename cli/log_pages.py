"""Reads log lines: the newest N backwards in pages, then, if wanted, new ones from a stream.

The platform answers at most 10,000 lines at once, newest page first, and people read the oldest line first.  So pages wait on disk until the
last one is there, and `-n all` of millions of lines takes no more memory than a page.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

from cli.client import Client
from cli.errors import Unreachable, usage
from cli.times import rfc3339

Line = dict[str, Any]
PAGE_LINES = 10_000
REMEMBERED = 2 * PAGE_LINES
_RECONNECT_S = 1.0
_NEXT_PAGE = "Next-Page-Token"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: of where, restricted by what (parameters of the request), and how many (None: all)."""

    path: str
    parameters: Mapping[str, str | list[str] | None] = field(default_factory=dict)
    count: int | None = 100


def read_count(text: str) -> int | None:
    """The number in `-n`; None for `all`."""
    if text == "all":
        return None
    if not text.isdigit():
        raise usage(f"Cannot read -n {text!r}.", todo="write a number, or all")
    return int(text)


def key_of(line: Line) -> tuple[Any, ...]:
    """Tells lines apart, also those of one microsecond."""
    return (line["time"], line.get("instance"), line.get("source"), line.get("stream"), line.get("number"))


def newest(client: Client, wanted: Wanted) -> Iterator[Line]:
    """The newest lines that match, oldest first."""
    with tempfile.TemporaryFile() as kept:
        for start, size in reversed(_keep_pages(client, wanted, kept)):
            kept.seek(start)
            for text in kept.read(size).splitlines():
                yield json.loads(text)


def _keep_pages(client: Client, wanted: Wanted, kept: IO[bytes]) -> list[tuple[int, int]]:
    """Where each page lies in the file, the newest first."""
    pages: list[tuple[int, int]] = []
    missing, token = wanted.count, ""
    while missing is None or missing > 0:
        lines, token = _page(
            client, wanted, token, PAGE_LINES if missing is None else min(missing, PAGE_LINES)
        )
        start = kept.tell()
        kept.writelines(line + b"\n" for line in lines)
        pages.append((start, kept.tell() - start))
        missing = None if missing is None else missing - len(lines)
        if not token:
            break
    return pages


def _page(client: Client, wanted: Wanted, token: str, limit: int) -> tuple[list[bytes], str]:
    with client.lines(wanted.path, **wanted.parameters, page_token=token or None, limit=limit) as answer:
        return [line for line in answer if line], answer.headers.get(_NEXT_PAGE, "")


def follow(
    client: Client,
    wanted: Wanted,
    past: deque[Line],
    *,
    show: Callable[[Line], None],
    note: Callable[[str], None],
) -> None:
    """Hands over new lines as they come, each once, until the person stops it; a broken stream is taken up where it broke."""
    seen = deque((key_of(line) for line in past), maxlen=REMEMBERED)
    known = set(seen)
    since = past[-1]["time"] if past else wanted.parameters.get("since")
    if since is None and wanted.count == 0:
        since = rfc3339(datetime.now(UTC))
    while True:
        try:
            for line in _stream(client, wanted, str(since) if since else None):
                since = max(str(since or ""), line["time"])
                if key_of(line) not in known:
                    _remember(seen, known, line)
                    show(line)
        except Unreachable as error:
            note(f"{error.what} Trying again.")
        time.sleep(_RECONNECT_S)


def _stream(client: Client, wanted: Wanted, since: str | None) -> Iterator[Line]:
    parameters = {**wanted.parameters, "since": since}
    for event in client.events(wanted.path, last_id="", limit=PAGE_LINES, follow=True, **parameters):
        if event.event == "problem":  # a part is away: the stream ends, and is taken up again
            return
        yield json.loads(event.data)


def _remember(seen: deque[tuple[Any, ...]], known: set[tuple[Any, ...]], line: Line) -> None:
    if len(seen) == REMEMBERED:
        known.discard(seen[0])
    seen.append(key_of(line))
    known.add(seen[-1])
