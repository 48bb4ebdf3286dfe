"""What the Engine's answers mean, as values of `lattice.runtime`.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lattice.contracts.nouns import LocalImage
from lattice.runtime import Container, ContainerStats, EngineEvent, EngineInfo, PublishedPort, RunState

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
Json = Mapping[str, Any]


def container_of(inspected: Json) -> Container:
    """A container from the Engine's `inspect`."""
    state = inspected["State"]
    ran = not state["StartedAt"].startswith("0001-")
    ended = state["Status"] in (RunState.EXITED, RunState.DEAD)
    return Container(
        id=inspected["Id"],
        name=inspected["Name"].removeprefix("/"),
        image_id=inspected["Image"],
        labels=inspected["Config"]["Labels"] or {},
        state=RunState(state["Status"]),
        exit_code=state["ExitCode"] if ended else None,
        oom_killed=bool(state["OOMKilled"]),
        error=state.get("Error") or "",
        started_at=time_of(state["StartedAt"]) if ran else None,
        finished_at=time_of(state["FinishedAt"]) if ran and ended else None,
        ports=_ports(inspected["HostConfig"].get("PortBindings") or {}),
        stop_timeout_s=inspected["Config"].get("StopTimeout") or 10,
        ip=next(iter(_addresses(inspected["NetworkSettings"].get("Networks") or {}).values()), ""),
        networks=tuple(sorted(inspected["NetworkSettings"].get("Networks") or {})),
        addresses=_addresses(inspected["NetworkSettings"].get("Networks") or {}),
        log_path=inspected.get("LogPath") or "",
        pid=state.get("Pid") or 0,
    )


def time_of(text: str) -> datetime:
    """A time of the Engine, which has nanoseconds; ours has microseconds."""
    return datetime.fromisoformat(text).astimezone(UTC)


def info_of(info: Json) -> EngineInfo:
    """The Engine from its `info`."""
    machine = str(info.get("Architecture", ""))
    return EngineInfo(
        version=info.get("ServerVersion", ""),
        arch=_MACHINES.get(machine, machine),
        os=info.get("OperatingSystem", ""),
        kernel=info.get("KernelVersion", ""),
        cpus=int(info.get("NCPU", 1)),
        memory_bytes=int(info.get("MemTotal", 0)),
        data_dir=info.get("DockerRootDir", ""),
        storage_driver=info.get("Driver", ""),
    )


def image_of(listed: Json) -> LocalImage:
    """An image from the Engine's list; `<none>` is the Engine's word for "no name"."""
    references = [*(listed.get("RepoTags") or ()), *(listed.get("RepoDigests") or ())]
    return LocalImage(id=listed["Id"], references=tuple(r for r in references if "<none>" not in r))


def event_of(event: Json) -> EngineEvent:
    """A container event; the Engine sends a health check's word inside the action, after a colon."""
    actor = event["Actor"]
    attributes = dict(actor.get("Attributes") or {})
    exit_code = attributes.get("exitCode")
    return EngineEvent(
        action=str(event["Action"]).partition(":")[0],
        container_id=actor["ID"],
        name=attributes.get("name", ""),
        labels=attributes,
        at_ns=int(event.get("timeNano", 0)),
        exit_code=int(exit_code) if exit_code is not None else None,
    )


def stats_of(stats: Json) -> ContainerStats:
    """What a container uses; file pages that can be dropped at once do not count as memory."""
    memory = stats.get("memory_stats") or {}
    detail = memory.get("stats") or {}
    droppable = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    networks = (stats.get("networks") or {}).values()
    return ContainerStats(
        cpu_total_ns=int(stats["cpu_stats"]["cpu_usage"]["total_usage"]),
        memory_bytes=max(0, int(memory.get("usage", 0)) - int(droppable)),
        pids=int((stats.get("pids_stats") or {}).get("current", 0)),
        received_bytes=sum(int(each["rx_bytes"]) for each in networks),
        sent_bytes=sum(int(each["tx_bytes"]) for each in networks),
        read_bytes=_transferred(stats, "read"),
        written_bytes=_transferred(stats, "write"),
        throttled_ns=int((stats["cpu_stats"].get("throttling_data") or {}).get("throttled_time", 0)),
    )


def _transferred(stats: Json, direction: str) -> int:
    """Bytes between a container and its disks; the Engine writes the word with a capital where it has them from cgroups of version 1."""
    listed = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    return sum(int(each["value"]) for each in listed if each["op"].lower() == direction)


def _ports(bindings: Json) -> tuple[PublishedPort, ...]:
    return tuple(
        PublishedPort(
            container_port=int(port.partition("/")[0]),
            host_port=int(binding["HostPort"] or 0),
            host_ip=binding["HostIp"],
        )
        for port, found in sorted(bindings.items())
        for binding in found or ()
    )


def _addresses(networks: Json) -> dict[str, str]:
    """network -> its address there; none while it does not run."""
    found = {name: str(network.get("IPAddress") or "") for name, network in networks.items()}
    return {name: address for name, address in found.items() if address}
