"""Waits until an approved node is ready for work."""

from __future__ import annotations

import time
from typing import Any

from cli.client_paths import path_of
from cli.errors import CliError, ExitCode
from cli.session import Session
from cli.times import elapsed
from cli.waiting import poll_pause_s


def wait_until_ready(session: Session, node_id: str, *, timeout_s: float) -> dict[str, Any]:
    """The node once it is ready; exit code 3 if it is not in time."""
    start = time.monotonic()
    while True:
        node: dict[str, Any] = session.client.get(path_of("nodes", node_id))
        waited_s = time.monotonic() - start
        if node["state"] == "ready":
            return node
        if waited_s >= timeout_s:
            raise _not_ready(node, timeout_s)
        time.sleep(min(poll_pause_s(waited_s), timeout_s - waited_s))


def _not_ready(node: dict[str, Any], timeout_s: float) -> CliError:
    return CliError(
        f"{node['name']} is not ready after {elapsed(timeout_s)}.",
        why=node.get("reason") or f"its state is {node['state']}",
        todo=f"look at the agent's log on the machine; `lattice node show {node['name']}`",
        exit_code=ExitCode.TIMED_OUT,
    )
