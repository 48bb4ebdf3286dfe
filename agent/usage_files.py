"""The kernel's own words about a container: what stands in the files of its cgroup, version 1 and 2, and of its network.  Pure.

Of version 1 each controller has a folder of its own; of version 2 there is one for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lattice.runtime import ContainerStats

Read = Callable[[str], str]
"""The text of a file of the container, such as `memory/memory.stat` (version 1) or `memory.stat` (version 2); OSError if there is none."""

V1_CONTROLLERS = ("cpuacct", "cpu", "memory", "blkio", "pids")


def cgroup_paths(text: str, container_id: str) -> Mapping[str, str]:
    """Controller -> path, of `/proc/<pid>/cgroup`; "" stands for version 2.  Empty where the process is not this container's, as where the number
    means another process to us."""
    paths = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if container_id in path:
            paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def is_version_1(paths: Mapping[str, str]) -> bool:
    """Whether its controllers are those of version 1; with both, version 2 has none of them."""
    return "memory" in paths


def usage_v1(read: Read, traffic: tuple[int, int]) -> ContainerStats:
    """What a container uses, by the files of version 1.  Raises OSError, KeyError or ValueError for files that are not as we know them."""
    memory, cpu = fields(read("memory/memory.stat")), fields(read("cpu/cpu.stat"))
    read_bytes, written_bytes = transferred_v1(read("blkio/blkio.throttle.io_service_bytes"))
    return ContainerStats(
        cpu_total_ns=int(read("cpuacct/cpuacct.usage")),
        memory_bytes=_working_set(
            int(read("memory/memory.usage_in_bytes")), memory.get("total_inactive_file", 0)
        ),
        pids=int(read("pids/pids.current")),
        received_bytes=traffic[0],
        sent_bytes=traffic[1],
        read_bytes=read_bytes,
        written_bytes=written_bytes,
        throttled_ns=cpu.get("throttled_time", 0),
    )


def usage_v2(read: Read, traffic: tuple[int, int]) -> ContainerStats:
    """The same of version 2."""
    memory, cpu = fields(read("memory.stat")), fields(read("cpu.stat"))
    read_bytes, written_bytes = transferred_v2(read("io.stat"))
    return ContainerStats(
        cpu_total_ns=cpu["usage_usec"] * 1000,
        memory_bytes=_working_set(int(read("memory.current")), memory.get("inactive_file", 0)),
        pids=int(read("pids.current")),
        received_bytes=traffic[0],
        sent_bytes=traffic[1],
        read_bytes=read_bytes,
        written_bytes=written_bytes,
        throttled_ns=cpu.get("throttled_usec", 0) * 1000,
    )


def _working_set(used: int, droppable: int) -> int:
    """File pages that can be dropped at once do not count as memory."""
    return max(0, used - droppable)


def fields(text: str) -> dict[str, int]:
    """Lines of a word and a number."""
    return {name: int(value) for name, _, value in (line.partition(" ") for line in text.splitlines())}


def transferred_v1(text: str) -> tuple[int, int]:
    """Read and written, over all disks: `8:0 Read 4096`."""
    sums = {"Read": 0, "Write": 0}
    for words in (line.split() for line in text.splitlines()):
        if len(words) == 3 and words[1] in sums:
            sums[words[1]] += int(words[2])
    return sums["Read"], sums["Write"]


def transferred_v2(text: str) -> tuple[int, int]:
    """The same: `8:0 rbytes=4096 wbytes=0 …`."""
    sums = {"rbytes": 0, "wbytes": 0}
    for word in text.split():
        name, _, value = word.partition("=")
        if name in sums:
            sums[name] += int(value)
    return sums["rbytes"], sums["wbytes"]


def network_traffic(text: str) -> tuple[int, int]:
    """Received and sent over all interfaces but the loopback, of `/proc/<pid>/net/dev`."""
    received = sent = 0
    for line in text.splitlines():
        name, colon, counts = line.partition(":")
        if colon and name.strip() != "lo":
            numbers = counts.split()
            received, sent = received + int(numbers[0]), sent + int(numbers[8])
    return received, sent
