"""How a node looks to people.  Pure but for the printing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cli.output import Screen
from cli.tables import Column, field
from cli.times import ago
from lattice.contracts.nouns import PortRange
from lattice.contracts.owner_rules import format_ranges
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


def owner_fields(policy: Json) -> tuple[tuple[str, str], ...]:
    """The owner's policy, rule by rule; what is not limited is left out."""
    if policy.get("problem"):
        return (("File", policy["file"]), ("Problem", f"{policy['problem']}; the node takes no new work"))
    limits = (
        ("CPU", f"{cores(policy['cpu_millis'])} cores" if policy.get("cpu_millis") is not None else ""),
        ("Memory", format_size(policy["memory_bytes"]) if policy.get("memory_bytes") is not None else ""),
        ("Disk", format_size(policy["disk_bytes"]) if policy.get("disk_bytes") is not None else ""),
    )
    hours = policy.get("hours") or ""
    return (
        ("File", policy.get("file") or ""),
        ("Pools", ", ".join(policy["pools"]) if policy.get("pools") is not None else ""),
        *limits,
        ("Hours", f"{hours}; {'open' if policy.get('open_now') else 'closed'} now" if hours else ""),
        ("Images", (", ".join(policy["images"]) or "none") if policy.get("images") is not None else ""),
        ("Host ports", _ranges(policy.get("host_ports") or ()) or "none"),
    )


def _ranges(ranges: Sequence[Json]) -> str:
    return format_ranges([PortRange.model_validate(each) for each in ranges])


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
    if node.get("policy"):
        screen.say("\nWhat its owner allows here:")
        screen.fields(owner_fields(node["policy"]))
    if node.get("quarantined"):
        screen.say("\nContainers of this platform that nobody knows; they are left alone:")
        screen.table(_QUARANTINED, node["quarantined"], indent=2)
