"""Waits for operations and shows how they get on: one living line on a terminal, a new line per step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cli import waiting
from cli.client_paths import path_of
from cli.errors import Refused, Unreachable
from cli.sanitize import clean_line
from cli.session import Session
from cli.times import elapsed, parse_duration_s

Json = dict[str, Any]
Show = Callable[[str, float], None]


def wait_for(session: Session, operation: Json, *, what: str, timeout_s: float) -> Json:
    """The operation once it succeeded; raises when it failed, was cancelled, or is not done after `timeout_s`."""
    watch = _Watch(session, operation)
    try:
        with display(session, what) as show:
            _follow(watch, show, timeout_s)
    except KeyboardInterrupt:
        raise waiting.no_longer_watching(watch.operation, what=what) from None
    if watch.operation["state"] == "succeeded":
        return watch.operation
    if waiting.has_ended(watch.operation):
        raise waiting.failure(watch.operation, watch.workload, what=what)
    session.screen.data(watch.operation)
    raise waiting.still_working(watch.operation, watch.workload, what=what, timeout_s=timeout_s)


class _Watch:
    """The newest that is known of an operation and of the workload that it changes."""

    def __init__(self, session: Session, operation: Json) -> None:
        self._session = session
        self.operation = operation
        self.workload: Json | None = None
        self.trouble = ""

    @property
    def line(self) -> str:
        return self.trouble or waiting.describe(self.operation, self.workload)

    def look(self) -> None:
        """Asks again; a platform that is away for a moment is waited for."""
        try:
            self.operation = self._session.client.get(path_of("operations", self.operation["id"]))
            self.workload = self._its_workload()
            self.trouble = ""
        except Unreachable as error:
            self.trouble = f"{error.what} Trying again"

    def _its_workload(self) -> Json | None:
        if self.operation.get("subject_kind") != "workload" or self.operation["state"] == "succeeded":
            return None
        project = self.operation.get("project") or self._session.project
        try:
            found: Json = self._session.client.get(
                path_of("workloads", self.operation["subject_id"]), project=project
            )
            return found
        except Refused as error:
            if isinstance(error, Unreachable) or error.status not in (404, 410):
                raise
            return None


def _follow(watch: _Watch, show: Show, timeout_s: float) -> None:
    start = time.monotonic()
    while True:
        watch.look()
        waited_s = time.monotonic() - start
        if waiting.has_ended(watch.operation) or waited_s >= timeout_s:
            return
        show(watch.line, waited_s)
        time.sleep(min(waiting.poll_pause_s(waited_s), timeout_s - waited_s))


@contextmanager
def display(session: Session, what: str) -> Iterator[Show]:
    """Where to say how something gets on, as this screen can show it."""
    if not session.screen.shows_progress:
        yield lambda _line, _waited_s: None
        return
    console = session.screen.error_console()
    if console.is_terminal and not console.is_dumb_terminal:
        with console.status(f"{what} …") as status:
            yield lambda line, waited_s: status.update(_living_line(what, line, waited_s, console.width))
    else:
        yield _StepLines(session, what).show


def _living_line(what: str, line: str, waited_s: float, width: int) -> Any:
    from rich.text import Text

    text = Text(f"{what}: {clean_line(line)} ({elapsed(waited_s)})", no_wrap=True, overflow="ellipsis")
    text.truncate(max(width - 3, 20), overflow="ellipsis")  # beside the spinner
    return text


class _StepLines:
    """Prints a line per step, not per percent."""

    def __init__(self, session: Session, what: str) -> None:
        self._session, self._what, self._step = session, what, ""

    def show(self, line: str, waited_s: float) -> None:
        step = waiting.step_of(line)
        if step != self._step:
            self._step = step
            self._session.screen.note(clean_line(f"{self._what}: {line} ({elapsed(waited_s)})"))


def finish(session: Session, answer: Json | None, *, what: str, wait: bool, timeout: str) -> Json | None:
    """The operation that an answer of 202 started: waited for, or as it is."""
    operation: Json | None = (answer or {}).get("operation")
    timeout_s = parse_duration_s(timeout)
    if operation is None or not wait:
        return operation
    return wait_for(session, operation, what=what, timeout_s=timeout_s)
