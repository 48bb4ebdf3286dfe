"""What the machine itself uses, from the kernel through psutil."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil

from lattice.metrics.declared import node as declared
from lattice.metrics.readings import Reading, reading

# Interfaces that the Engine and its like make: what goes over them goes over a real one too, or never leaves the machine.
_INNER = ("lo", "veth", "docker", "br-", "virbr", "cni", "flannel")
_IDLE = frozenset({"idle", "iowait", "guest", "guest_nice"})  # the kernel counts guests as users, too


def machine_readings(data_dir: str) -> list[Reading]:
    """Everything; `data_dir` is a folder on the disk where the Engine keeps its data."""
    return [*_processor(), *_memory(), *_disks(data_dir), *_network()]


def _processor() -> Iterator[Reading]:
    times = psutil.cpu_times()._asdict()
    yield reading(declared.CPUS, os.cpu_count() or 1)
    yield reading(declared.CPU_SECONDS, sum(spent for mode, spent in times.items() if mode not in _IDLE))
    yield reading(declared.LOAD1, os.getloadavg()[0])
    yield reading(declared.BOOT_TIME, psutil.boot_time())


def _memory() -> Iterator[Reading]:
    memory = psutil.virtual_memory()
    yield reading(declared.MEMORY_SIZE, memory.total)
    yield reading(declared.MEMORY_USED, memory.total - memory.available)
    yield reading(declared.SWAP_USED, psutil.swap_memory().used)


def _disks(data_dir: str) -> Iterator[Reading]:
    space, transferred = psutil.disk_usage(data_dir), psutil.disk_io_counters()
    yield reading(declared.DISK_SIZE, space.total)
    yield reading(declared.DISK_USED, space.used)
    yield reading(declared.DISK_FREE, space.free)
    if transferred is not None:
        yield reading(declared.DISK_READ, transferred.read_bytes)
        yield reading(declared.DISK_WRITTEN, transferred.write_bytes)


def _network() -> Iterator[Reading]:
    interfaces = psutil.net_io_counters(pernic=True)
    own = [counts for name, counts in interfaces.items() if not name.startswith(_INNER)]
    yield reading(declared.NETWORK_RECEIVED, sum(counts.bytes_recv for counts in own))
    yield reading(declared.NETWORK_SENT, sum(counts.bytes_sent for counts in own))
