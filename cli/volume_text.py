"""How a volume looks to people.  Pure but for the printing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cli.output import Screen
from cli.times import ago
from lattice.contracts.quantities import format_size


def show(screen: Screen, volume: Mapping[str, Any], *, now: datetime) -> None:
    """The page about one volume."""
    screen.fields(
        (
            ("Name", volume["name"]),
            ("Id", volume["id"]),
            ("Project", volume["project"]),
            ("Slot", volume["slot"]),
            ("State", volume["state"]),
            ("Reason", volume.get("reason")),
            ("Node", volume.get("node")),
            ("Size", format_size(volume["size_bytes"])),
            ("Used by", volume.get("workload")),
            ("Created by", volume["created_by_workload"]),
            ("Created", f"{ago(volume.get('created_at'), now=now)} ago"),
            ("Credentials", "kept with the data" if volume.get("has_credentials") else ""),
        )
    )
