"""How `lattice stats` shows what things take."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cli.stats_text import columns_of, empty, only, sparkline
from cli.tables import cells

NOW = datetime(2030, 1, 1, tzinfo=UTC)
WEB: dict[str, Any] = {
    "project": "shop", "workload": "web", "node": "attic", "up": True, "ready": True, "restarts": 2, "cpu_cores": 0.0512, "cpu_limit_cores": 0.5,
    "memory_bytes": 3 * 2**20, "memory_limit_bytes": 512 * 2**20, "received_bytes_per_s": 2048.4, "sent_bytes_per_s": 0.0,
    "read_bytes_per_s": None, "written_bytes_per_s": None, "cpu_last_hour": [None, 0.0, 0.25, 0.5],
}  # fmt: skip


def shown(item: dict[str, Any], **which: bool) -> dict[str, str]:
    titles, row = cells(columns_of(**{"node": False, "projects": False, **which}), [item], now=NOW)
    return dict(zip(titles, row, strict=True))


def test_an_instance() -> None:
    row = shown(WEB)
    assert (row["WORKLOAD"], row["STATE"], row["CPU"], row["MEMORY"]) == (
        "web",
        "ready",
        "0.05/0.5",
        "3 MiB/512 MiB",
    )
    assert (row["NET IN/OUT"], row["DISK R/W"], row["RESTARTS"]) == ("2 KiB/0 B", "-", "2")
    assert "PROJECT" not in row and shown(WEB, projects=True)["PROJECT"] == "shop"


def test_what_is_not_known_yet_is_a_dash() -> None:
    new = {**WEB, "cpu_cores": None, "memory_bytes": None, "memory_limit_bytes": None, "cpu_last_hour": []}
    row = shown(new)
    assert (row["CPU"], row["MEMORY"], row["CPU, LAST HOUR"]) == ("-/0.5", "-", "-")
    assert shown({**WEB, "ready": False})["STATE"] == "not ready"
    assert shown({**WEB, "up": False})["STATE"] == "down"


def test_a_node() -> None:
    node = {**WEB, "load1": 1.256, "disk_bytes": 2**30, "disk_size_bytes": 2**32}
    row = shown(node, node=True)
    assert (row["NODE"], row["DISK"], row["LOAD"]) == ("attic", "1 GiB/4 GiB", "1.26")


@pytest.mark.parametrize(
    ("points", "most", "bars"),
    [
        ([], None, ""),
        ([None, None], 1.0, ""),
        ([0.0, 0.0], None, "▁▁"),
        ([0.0, 0.5, 1.0], 1.0, "▁▅█"),
        ([0.0, 0.5], 5.0, "▁▂"),
        ([1.0, None, 2.0], 1.0, "▅ █"),
        ([1.0] * 40, None, "█" * 30),
    ],
)
def test_bars(points: list[float | None], most: float | None, bars: str) -> None:
    assert sparkline(points, most=most) == bars


def test_one_node_is_meant_by_name_or_id() -> None:
    found = {"nodes": [{"node": "attic", "node_id": "nd-1"}, {"node": "cellar", "node_id": "nd-2"}]}
    assert [each["node"] for each in only(found, "nd-2")["nodes"]] == ["cellar"]
    assert [each["node"] for each in only(found, "attic")["nodes"]] == ["attic"]
    assert len(only(found, None)["nodes"]) == 2


def test_nothing_to_show_says_why() -> None:
    assert empty("web", node=False).startswith("Of web nothing is measured")
    assert "every 15 s" in empty(None, node=True)
