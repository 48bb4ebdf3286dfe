"""`environment` of a compose service: a list of `NAME=value`, or a mapping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lattice.compose_file.findings import Place
from lattice.compose_file.scalars import mapping, sequence


def environment(value: object, place: Place) -> dict[str, str]:
    """The variables with their values as texts."""
    found = {}
    for name, content, here in _pairs(value, place):
        if isinstance(content, bool):
            found[name] = str(content).lower()
        elif isinstance(content, (str, int, float)):
            found[name] = str(content)
        elif content is None:
            here.refuse(
                f"{name} has no value here: write one; `lattice apply` takes it from your environment where it is set"
            )
        else:
            here.refuse("write a text")
    return found


def _pairs(value: object, place: Place) -> Iterable[tuple[str, Any, Place]]:
    if value is None or isinstance(value, Mapping):
        return [(name, content, place.under(name)) for name, content in mapping(value, place).items()]
    pairs = []
    for entry, here in sequence(value, place):
        name, equals, content = str(entry).partition("=")
        if isinstance(entry, str) and name:
            pairs.append((name, content if equals else None, here))
        else:
            here.refuse("write NAME=value")
    return pairs
