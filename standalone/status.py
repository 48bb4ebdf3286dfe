"""`lattice status`: the processes of the platform on this machine, its node, and how its workloads are.

The processes are known from the supervisor's status file, so there is an answer even when nothing runs.  What the gateway would have to tell
is left out while it does not answer.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from lattice.errors import LatticeError
from standalone import printing
from standalone.announcement import Announcement, read_announcement
from standalone.child import ProcessStatus
from standalone.data_dir import DataDir, find_data_dir
from standalone.gateway_client import open_gateway
from standalone.own_node import own_node_id
from standalone.printing import answer, answer_data, answer_table, say
from standalone.processes import ProcessIdentity, is_running
from standalone.supervisor import SupervisorStatus, read_status

READY, NOT_READY = 0, 1
STYLES = {
    "ready": "green",
    "starting": "yellow",
    "restarting": "yellow",
    "unsupervised": "red",
    "stopped": "dim",
}
MIB = 2**20


async def show_status(root: Path, *, output: str) -> int:
    """Print it; 0 if the platform is ready, else 1."""
    data_dir = find_data_dir(root)
    if data_dir is None:
        say(f"No platform was started in {root}: `lattice up` starts one.")
        return NOT_READY
    found = await look(data_dir)
    if printing.is_for_programs(output):
        answer_data(found, output=output)
    elif output == printing.NAME:
        answer("\n".join(process["name"] for process in found["processes"]))
    else:
        _print(found)
    return READY if found["ready"] else NOT_READY


async def look(data_dir: DataDir) -> dict[str, Any]:
    """Everything that is known, as `-o json` prints it."""
    status, announcement = read_status(data_dir.status_file), read_announcement(data_dir)
    alive = status is not None and status.alive
    processes = [process_view(each, supervised=alive) for each in status.processes] if status else []
    ready = alive and announcement is not None and all(each["state"] == "ready" for each in processes)
    found: dict[str, Any] = {
        "data_dir": str(data_dir.root),
        "cluster_id": data_dir.cluster_id,
        "ready": ready,
        "url": announcement.url if announcement else None,
        "supervisor": _supervisor_view(status) if status else None,
        "processes": processes,
        "node": None,
        "workloads": None,
    }
    if alive and announcement is not None:
        found.update(await _ask(announcement, data_dir))
    return found


def process_view(process: ProcessStatus, *, supervised: bool) -> dict[str, Any]:
    """One process as people see it."""
    runs = _runs(process)
    return {
        "name": process.name,
        "pid": process.pid if runs else None,
        "state": state_of(process, runs=runs, supervised=supervised),
        "since": process.since.isoformat() if runs and process.since else None,
        "restarts": process.restarts,
        "memory_bytes": memory_bytes(process.pid) if runs and process.pid else None,
        "last_exit": process.last_exit,
    }


def state_of(process: ProcessStatus, *, runs: bool, supervised: bool) -> str:
    """In one word."""
    if not supervised:
        return "unsupervised" if runs else "stopped"
    if not runs:
        return "restarting" if process.last_exit else "starting"
    return "ready" if process.ready else "starting"


def memory_bytes(pid: int) -> int | None:
    """What a process and its children hold; Postgres is many."""
    try:
        top = psutil.Process(pid)
        return sum(each.memory_info().rss for each in (top, *top.children(recursive=True)))
    except psutil.Error:
        return None


def _runs(process: ProcessStatus) -> bool:
    if process.pid is None or process.started_ticks is None:
        return False
    return is_running(ProcessIdentity(process.pid, process.started_ticks))


def _supervisor_view(status: SupervisorStatus) -> dict[str, Any]:
    return {"pid": status.pid, "alive": status.alive}


async def _ask(announcement: Announcement, data_dir: DataDir) -> dict[str, Any]:
    try:
        async with open_gateway(announcement) as gateway:
            workloads = await gateway.listing("/v1/workloads", project="*")
            answered: dict[str, Any] = {"workloads": Counter(each["state"] for each in workloads)}
            if _has_node(data_dir):
                node = await gateway.get(f"/v1/nodes/{own_node_id(data_dir.agent)}")
                answered["node"] = {key: node[key] for key in ("id", "name", "state", "reason")}
            return answered
    except LatticeError as error:
        say(f"The gateway does not say more: {error}")
        return {}


def _has_node(data_dir: DataDir) -> bool:
    try:
        return bool(own_node_id(data_dir.agent))
    except LatticeError:
        return False


def _print(found: dict[str, Any]) -> None:
    columns = ("PROCESS", "PID", "STATE", "SINCE", "RESTARTS", "MEMORY")
    answer_table(columns, [_row(each) for each in found["processes"]], styles=STYLES)
    answer(_summary(found))
    for process in found["processes"]:
        if process["state"] not in ("ready", "stopped") and process["last_exit"]:
            answer(f"{process['name']}: {process['last_exit']}")


def _row(process: dict[str, Any]) -> tuple[str, ...]:
    memory = process["memory_bytes"]
    return (
        process["name"],
        str(process["pid"] or "-"),
        process["state"],
        elapsed(process["since"], datetime.now(UTC)),
        str(process["restarts"]),
        f"{memory // MIB} MiB" if memory is not None else "-",
    )


def elapsed(since: str | None, now: datetime) -> str:
    """How long ago, in its largest unit."""
    if since is None:
        return "-"
    seconds = max(0, int((now - datetime.fromisoformat(since)).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _summary(found: dict[str, Any]) -> str:
    lines = ["", f"Data directory  {found['data_dir']} (cluster {found['cluster_id']})"]
    if found["url"]:
        lines.append(f"Gateway         {found['url']}")
    if found["node"]:
        reason = f" ({found['node']['reason']})" if found["node"]["reason"] else ""
        lines.append(f"This node       {found['node']['name']} is {found['node']['state']}{reason}")
    if found["workloads"] is not None:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(found["workloads"].items()))
        lines.append(f"Workloads       {counts or 'none'}")
    lines.append(_verdict(found))
    return "\n".join(lines)


def _verdict(found: dict[str, Any]) -> str:
    if found["ready"]:
        return "The platform is ready."
    alive = found["supervisor"] is not None and found["supervisor"]["alive"]
    if alive:
        return "The platform is not ready (yet): the logs are in its folder `logs`."
    return "The platform is not running: `lattice up --detach --wait` starts it."
