"""Which fields of a spec would be others, from the two as they are stored: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lattice.contracts.views import FieldChange


def spec_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """Field by field, in the order of the fields; a list is one field."""
    return tuple(_changes(before, after, ""))


def _changes(before: Any, after: Any, path: str) -> Iterator[FieldChange]:
    if before == after:
        return
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        yield FieldChange(path=path, before=before, after=after)
        return
    for name in dict.fromkeys((*before, *after)):
        yield from _changes(before.get(name), after.get(name), f"{path}.{name}" if path else name)
