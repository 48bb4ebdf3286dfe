"""`external_links` of a compose service: names for workloads outside of the app, on whatever node these are."""

from __future__ import annotations

from typing import Any

from lattice.compose_file.findings import Place
from lattice.compose_file.scalars import read, sequence, text


def external_links(value: object, place: Place) -> list[dict[str, Any]]:
    """`links` as a workload's spec has them, from `WORKLOAD` or `WORKLOAD:NAME`."""
    found = []
    for entry, here in sequence(value, place):
        written = read(text, entry, here)
        if written is not None:
            workload, _, name = written.partition(":")
            found.append({"workload": workload, **({"as": name} if name else {})})
    return found
