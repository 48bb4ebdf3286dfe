"""Reads log lines: the newest N backwards in pages, then, if wanted, new ones from a stream.

The platform answers at most 10,000 lines at once, so more are asked for page by page, each ending where the one before began.  Times are
cut to microseconds on the way, so two lines may share one: the pages overlap by that microsecond and what was seen already is left out.
The same holds when a broken stream is taken up again.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cli.client import Client
from cli.errors import Unreachable, usage
from cli.times import parse_time, rfc3339

Line = dict[str, Any]
PAGE_LINES = 10_000
REMEMBERED = 2 * PAGE_LINES
_RECONNECT_S = 1.0
_OVERLAP = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: of where, between when, containing what, and how many (None: all)."""

    path: str
    project: str
    since: str | None = None
    until: str | None = None
    grep: str | None = None
    source: str | None = None
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
    return (line["time"], line.get("instance"), line.get("stream"), line.get("number"), line.get("message"))


def newest(client: Client, wanted: Wanted) -> list[Line]:
    """The newest lines that match, oldest first."""
    pages: list[list[Line]] = []
    missing, until, border = wanted.count, wanted.until, set[tuple[Any, ...]]()
    while missing is None or missing > 0:
        limit = PAGE_LINES if missing is None else min(missing + len(border), PAGE_LINES)
        page = _page(client, wanted, until=until, limit=limit)
        fresh = [line for line in page if key_of(line) not in border]
        pages.append(fresh if missing is None else fresh[-missing:])
        if not fresh or len(page) < limit:
            break
        missing = None if missing is None else missing - len(fresh)
        until, border = _before(page), {key_of(line) for line in page if line["time"] == page[0]["time"]}
    return [line for page in reversed(pages) for line in page]


def _page(client: Client, wanted: Wanted, *, until: str | None, limit: int) -> list[Line]:
    query = {
        "project": wanted.project,
        "since": wanted.since,
        "until": until,
        "grep": wanted.grep,
        "source": wanted.source,
        "limit": limit,
    }
    return [json.loads(line) for line in client.lines(wanted.path, **query) if line]


def _before(page: Sequence[Line]) -> str:
    return rfc3339(parse_time(page[0]["time"]) + _OVERLAP)


def follow(
    client: Client,
    wanted: Wanted,
    past: Sequence[Line],
    *,
    show: Callable[[Line], None],
    note: Callable[[str], None],
) -> None:
    """Hands over new lines as they come, each once, until the person stops it; a broken stream is taken up where it broke."""
    seen = deque((key_of(line) for line in past), maxlen=REMEMBERED)
    known = set(seen)
    since = (
        past[-1]["time"]
        if past
        else wanted.since or (rfc3339(datetime.now(UTC)) if wanted.count == 0 else None)
    )
    while True:
        try:
            for line in _stream(client, wanted, since):
                since = max(since or "", line["time"])
                if key_of(line) not in known:
                    _remember(seen, known, line)
                    show(line)
        except Unreachable as error:
            note(f"{error.what} Trying again.")
        time.sleep(_RECONNECT_S)


def _stream(client: Client, wanted: Wanted, since: str | None) -> Iterator[Line]:
    events = client.events(
        wanted.path, project=wanted.project, since=since, grep=wanted.grep, limit=PAGE_LINES, follow=True
    )
    for event in events:
        if event.event == "problem":  # a part is away: the stream ends, and is taken up again
            return
        yield json.loads(event.data)


def _remember(seen: deque[tuple[Any, ...]], known: set[tuple[Any, ...]], line: Line) -> None:
    if len(seen) == REMEMBERED:
        known.discard(seen[0])
    seen.append(key_of(line))
    known.add(seen[-1])
