"""Every dashboard, one module each."""

from __future__ import annotations

from dashboards.board import Board
from dashboards.boards import alerts, control_plane, fleet, logs, node, slos, tunnels, workload

BOARDS: tuple[Board, ...] = (
    fleet.BOARD,
    node.BOARD,
    workload.BOARD,
    control_plane.BOARD,
    logs.BOARD,
    tunnels.BOARD,
    alerts.BOARD,
    slos.BOARD,
)

NOT_SHOWN = {
    "process_virtual_memory_bytes": "addresses are not memory; what a process holds is shown",
    "process_max_fds": "a limit that only matters once it is near; the number of open ones is shown",
}
"""Metrics that no panel asks for by themselves, and why."""
