"""How a node looks to people.  Pure but for the printing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cli.output import Screen
from cli.tables import Column, field
from cli.times import ago
from lattice.contracts.quantities import format_size

Json = Mapping[str, Any]


def cores(millis: int) -> str:
    return f"{millis / 1000:g}"


def cpu(node: Json) -> str:
    """`0.5/2`: reserved of the capacity, in cores."""
    return f"{cores(node['reserved']['cpu_millis'])}/{cores(node['capacity']['cpu_millis'])}"


def memory(node: Json) -> str:
    reserved, capacity = node["reserved"]["memory_bytes"], node["capacity"]["memory_bytes"]
    return f"{format_size(reserved)}/{format_size(capacity)}".replace(" ", "")


def labels(node: Json) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((node.get("labels") or {}).items()))


COLUMNS = (
    field("NAME", "name", whole=True),
    field("STATE", "state", whole=True),
    field("POOL", "pool", leave_out=4),
    Column("CPU", lambda n, _now: cpu(n), right=True, leave_out=3),
    Column("MEMORY", lambda n, _now: memory(n), right=True, leave_out=1),
    Column("SEEN", lambda n, now: ago(n.get("last_seen"), now=now)),
    field("AGENT", "agent_version", leave_out=5),
    Column("LABELS", lambda n, _now: labels(n), leave_out=6),
    field("WHY", "reason", leave_out=2),
)
_BLOCKERS = (field("WORKLOAD", "workload", whole=True), field("WHY", "reason"))
_QUARANTINED = (
    field("CONTAINER", "name"),
    field("RUNNING", "running"),
    field("ID", "container_id", leave_out=1),
)


def show(screen: Screen, node: Json, *, now: datetime) -> None:
    """The page about one node."""
    screen.fields(
        (
            ("Name", node["name"]),
            ("Id", node.get("id")),
            ("State", node["state"]),
            ("Reason", node.get("reason")),
            ("Fingerprint", node.get("fingerprint")),
            ("Pool", node.get("pool")),
            ("Labels", labels(node)),
            ("CPU", f"{cpu(node)} cores reserved, {cores(node['usage']['cpu_millis'])} in use"),
            ("Memory", f"{memory(node)} reserved, {format_size(node['usage']['memory_bytes'])} in use"),
            (
                "Disk",
                f"{format_size(node['usage']['disk_bytes'])} of {format_size(node['capacity']['disk_bytes'])} in use",
            ),
            ("System", " ".join(filter(None, (node.get("os"), node.get("arch"))))),
            ("Docker", node.get("docker_version")),
            ("Agent", node.get("agent_version")),
            ("Last seen", f"{ago(node.get('last_seen'), now=now)} ago" if node.get("last_seen") else "never"),
            (
                "Certificate",
                f"renewed by itself; the present one ends in {ago(node['certificate_expires_at'], now=now)}"
                if node.get("certificate_expires_at")
                else "",
            ),
        )
    )
    if node.get("blockers"):
        screen.say("\nStill here, and why:")
        screen.table(_BLOCKERS, node["blockers"], indent=2)
    if node.get("quarantined"):
        screen.say("\nContainers of this platform that nobody knows; they are left alone:")
        screen.table(_QUARANTINED, node["quarantined"], indent=2)
