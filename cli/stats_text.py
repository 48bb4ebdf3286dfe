"""How it looks what instances and nodes take.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cli.tables import Column, field
from lattice.contracts.quantities import format_size

Json = Mapping[str, Any]

_BARS = "▁▂▃▄▅▆▇█"
_SPARKS = 30


def cpu(item: Json) -> str:
    """`0.05/0.5`: used of what may be used, in cores."""
    return _of(_short(item.get("cpu_cores")), _short(item.get("cpu_limit_cores")))


def memory(item: Json) -> str:
    return _of(_size(item.get("memory_bytes")), _size(item.get("memory_limit_bytes")))


def disk(item: Json) -> str:
    return _of(_size(item.get("disk_bytes")), _size(item.get("disk_size_bytes")))


def both_ways(item: Json, *names: str) -> str:
    """`12 KiB/3 B`: so much per second in, and out."""
    told = [_size(item.get(f"{name}_bytes_per_s")) for name in names]
    return "/".join(each or "-" for each in told) if any(told) else ""


def sparkline(points: Sequence[float | None], *, most: float | None = None) -> str:
    """The last points as bars, the highest of which is `most` or what is the most of them; a blank where nothing is known."""
    shown = list(points)[-_SPARKS:]
    known = [each for each in shown if each is not None]
    if not known:
        return ""
    top = max([most or 0.0, *known]) or 1.0
    last = len(_BARS) - 1
    return "".join(
        " " if each is None else _BARS[min(last, int(each / top * last + 0.5))] for each in shown
    ).rstrip()


def _of(used: str, limit: str) -> str:
    return f"{used or '-'}/{limit}" if limit else used


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


def _size(value: float | None) -> str:
    return "" if value is None else format_size(int(value))


def _state(item: Json) -> str:
    if not item["up"]:
        return "down"
    return "ready" if item["ready"] else "not ready"


def _history(item: Json) -> str:
    return sparkline(item.get("cpu_last_hour") or (), most=item.get("cpu_limit_cores"))


_SHARED = (
    Column("CPU", lambda i, _now: cpu(i), right=True, whole=True),
    Column("MEMORY", lambda i, _now: memory(i), right=True, whole=True),
)
_TRAFFIC = (
    Column("NET IN/OUT", lambda i, _now: both_ways(i, "received", "sent"), right=True, leave_out=2),
    Column("DISK R/W", lambda i, _now: both_ways(i, "read", "written"), right=True, leave_out=5),
)
_HOUR = Column("CPU, LAST HOUR", lambda i, _now: _history(i), leave_out=4)

INSTANCES = (
    field("WORKLOAD", "workload", whole=True),
    field("NODE", "node", leave_out=3),
    Column("STATE", lambda i, _now: _state(i), whole=True),
    *_SHARED,
    *_TRAFFIC,
    field("RESTARTS", "restarts", right=True, leave_out=1),
    _HOUR,
)
NODES = (
    field("NODE", "node", whole=True),
    *_SHARED,
    Column("DISK", lambda i, _now: disk(i), right=True, leave_out=1),
    *_TRAFFIC,
    Column("LOAD", lambda i, _now: _short(i.get("load1")), right=True, leave_out=3),
    _HOUR,
)


def columns_of(*, node: bool, projects: bool) -> Sequence[Column]:
    """What is shown of nodes, or of instances, with whose they are where they are of several projects."""
    if node:
        return NODES
    return (field("PROJECT", "project", whole=True), *INSTANCES) if projects else INSTANCES


def only(found: Json, node: str | None) -> dict[str, Any]:
    """The stats of one node, by name or id; of all without one."""
    nodes = [each for each in found["nodes"] if node in (None, each["node"], each["node_id"])]
    return {**found, "nodes": nodes}


def empty(name: str | None, *, node: bool) -> str:
    """Why there is nothing to show, and what to do."""
    if node:
        return "No node has said anything yet: it does every 15 s once it runs. `lattice node ls` shows how nodes are."
    which = f"Of {name} nothing" if name else "Nothing"
    return f"{which} is measured here: what runs is, every 15 s. `lattice ps` shows what runs."
