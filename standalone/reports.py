"""What a starting platform says of itself while others wait: a few kinds of news, each a line of JSON on a pipe.

The supervisor may run in the foreground, where news are printed, or in the background, where the command that started it reads them.  The
end of the pipe without `ready` or `failed` means that it died.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import IO

from pydantic import BaseModel, ValidationError

from standalone.announcement import Announcement


class Kind(StrEnum):
    """What kind of news it is."""

    STARTED = "started"  # the data directory is ours, and the processes are being started
    PROGRESS = "progress"
    READY = "ready"
    FAILED = "failed"


class News(BaseModel, frozen=True):
    """One report."""

    kind: Kind
    text: str = ""
    announcement: Announcement | None = None


Tell = Callable[[News], None]


def teller(pipe: IO[str]) -> Tell:
    """Tells whoever reads the pipe; a reader that has left is not missed."""

    def tell(news: News) -> None:
        if pipe.closed:
            return
        try:
            pipe.write(news.model_dump_json() + "\n")
            pipe.flush()
        except BrokenPipeError:
            _close_broken(pipe)

    return tell


def read_news(line: str) -> News | None:
    """The news in a line, or None if it holds something else."""
    try:
        return News.model_validate_json(line)
    except ValidationError:
        return None


def _close_broken(pipe: IO[str]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:  # what was buffered cannot be written any more
        return
