"""What is known of how an instance's container ended last, and what of it the next instance in its slot goes on telling.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.registry.tables import InstanceRow

_LAST_WORDS = 10


def last_words(row: InstanceRow) -> tuple[str, ...]:
    """What its container printed before it ended last."""
    return tuple(row.last_log or (row.last_exit or {}).get("log", ()))


def inherited_exit(row: InstanceRow | None) -> dict[str, Any] | None:
    """A LastExit for the instance that takes the place of this one: people still ask about it, and it was elsewhere, perhaps."""
    if row is None or row.last_exit is None:
        return None
    log = row.last_exit.get("log") or row.last_log[-_LAST_WORDS:]
    return row.last_exit | {"log": log, "node": row.last_exit.get("node") or row.node_id or ""}


def newest_words(rows: Iterable[InstanceRow]) -> tuple[str, ...]:
    """What the newest of these printed that said anything at its end."""
    said = (last_words(row) for row in sorted(rows, key=lambda row: row.created_at, reverse=True))
    return next((words for words in said if words), ())
