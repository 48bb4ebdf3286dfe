"""Keeps the owner's policy as its file says, without a restart: a look every two seconds, since editors replace files in many ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from loguru import logger

from agent.node_events import NodeEvents
from agent.policy import NodePolicy, owner_policy
from agent.policy_file import BadPolicy, parse_policy
from lattice.clock import Clock
from lattice.contracts.nouns import OwnerPolicy

EVERY_S = 2.0
# An editor may remove a file before it writes it anew: what is gone once may be back at the next look.
_LOOKS_UNTIL_GONE = 2


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the file said at the last look; both empty where there is none."""

    policy: NodePolicy | None = None
    problem: str = ""


class PolicyWatch:
    """The policy of one file.  `required` says that somebody named the file, so that one that is missing is a mistake."""

    def __init__(
        self,
        path: Path,
        events: NodeEvents,
        clock: Clock,
        changed: Callable[[], None],
        *,
        required: bool = False,
        every_s: float = EVERY_S,
    ) -> None:
        self._path, self._events, self._clock, self._changed = path, events, clock, changed
        self._required, self._every_s = required, every_s
        self._missed = 0
        self._text: str | None = None
        self._seen = _Seen()
        self._was_open = True

    @property
    def owner(self) -> OwnerPolicy | None:
        """What is allowed now; None where the owner wrote nothing."""
        if self._seen.problem:
            return OwnerPolicy(file=str(self._path), problem=self._seen.problem)
        return owner_policy(self._seen.policy, str(self._path), self._now()) if self._seen.policy else None

    def read_first(self) -> None:
        """Read the file before anything is decided."""
        self._missed = _LOOKS_UNTIL_GONE
        self._look()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(self._every_s)
            before = self._seen
            self._look()
            if self._seen != before:
                self._tell()
            owner = self.owner
            is_open = owner is None or owner.open_now
            if self._seen != before or is_open != self._was_open:
                self._changed()
            self._was_open = is_open

    def _look(self) -> None:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            self._note_missing()
            return
        except (OSError, UnicodeDecodeError) as error:
            self._missed, self._text = 0, None
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self._seen = _Seen(problem=f"it cannot be read: {reason}")
            return
        self._missed = 0
        if text != self._text:
            self._text, self._seen = text, _parsed(text)

    def _note_missing(self) -> None:
        self._missed += 1
        if self._missed < _LOOKS_UNTIL_GONE:
            return
        self._text = None
        self._seen = (
            _Seen(problem="it is not there, and the agent's settings name it") if self._required else _Seen()
        )

    def _tell(self) -> None:
        seen = self._seen
        if seen.problem:
            detail = f"the owner's policy {self._path} cannot be used: {seen.problem}; no new work is taken until it is put right"
        elif seen.policy is None:
            detail = f"the owner's policy {self._path} is gone: everything is allowed"
        else:
            detail = f"the owner's policy {self._path} was read"
        logger.log("WARNING" if seen.problem else "INFO", detail)
        self._events.tell("owner_policy", detail, usable=not seen.problem)

    def _now(self) -> datetime:
        return self._clock.now()


def _parsed(text: str) -> _Seen:
    try:
        return _Seen(policy=parse_policy(text))
    except BadPolicy as error:
        return _Seen(problem=str(error))
