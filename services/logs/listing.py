"""Whose lines are stored, from the index alone: what a person can choose from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lattice.contracts.messages import ListedLog, ListedLogs
from lattice.contracts.messages.log_counts import MOST_LISTED
from lattice.log_labels import Place
from services.logs.index import StoredBlock
from services.logs.query import place_of


def listed(blocks: Iterable[StoredBlock], *, most: int = MOST_LISTED) -> ListedLogs:
    """One entry for each instance; a gap is no lines."""
    found: dict[Place, list[StoredBlock]] = {}
    for block in blocks:
        if block.header.block.gap is None:
            found.setdefault(place_of(block), []).append(block)
    logs = tuple(_listed(place, found[place]) for place in sorted(found)[:most])
    return ListedLogs(logs=logs, more=len(found) > most)


def _listed(place: Place, blocks: Sequence[StoredBlock]) -> ListedLog:
    return ListedLog(
        **place._asdict(),
        lines=sum(last - first + 1 for first, last in (block.lines for block in blocks)),
        size_bytes=sum(block.body_size for block in blocks),
        blocks=len(blocks),
    )
