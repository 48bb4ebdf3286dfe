"""What this node is and how busy it is: from the Engine, and from the machine through psutil."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from lattice import __version__
from lattice.contracts.nouns import Amounts, Inventory, LocalImage
from lattice.runtime import EngineInfo, Runtime

# An observed document must stay below 1 MB, and images that nobody named cannot be asked for.
MOST_IMAGES = 400
_MOST_REFERENCES = 8


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The disk on which the Engine keeps images; `used_percent` as `df` shows it, `free_bytes` what may still be written."""

    free_bytes: int
    used_percent: float


def disk_space(folder: str) -> DiskSpace:
    """The disk that a folder is on."""
    usage = psutil.disk_usage(folder)
    return DiskSpace(free_bytes=usage.free, used_percent=usage.percent)


class InventoryKeeper:
    """The newest inventory; asking the Engine for it takes longer than a report may."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.inventory = machine_inventory()
        self.data_dir = "/"

    async def refresh(self) -> None:
        """Ask the Engine again."""
        info, images = await self._runtime.info(), await self._runtime.images()
        self.data_dir = _nearest_folder(info.data_dir)
        disk_bytes = psutil.disk_usage(self.data_dir).total
        self.inventory = inventory_of(info, images, hostname=socket.gethostname(), disk_bytes=disk_bytes)


def inventory_of(
    info: EngineInfo, images: Sequence[LocalImage], *, hostname: str, disk_bytes: int
) -> Inventory:
    """The inventory of a node from what its Engine says.  Pure."""
    return Inventory(
        hostname=hostname,
        arch=info.arch,
        os=info.os,
        kernel=info.kernel,
        docker_version=info.version,
        agent_version=__version__,
        capacity=Amounts(cpu_millis=info.cpus * 1000, memory_bytes=info.memory_bytes, disk_bytes=disk_bytes),
        images=bounded_images(images),
    )


def bounded_images(images: Sequence[LocalImage]) -> tuple[LocalImage, ...]:
    """The images that have a name, each with its first references, as many as fit into a report."""
    named = [image for image in images if image.references]
    return tuple(
        LocalImage(id=image.id, references=image.references[:_MOST_REFERENCES])
        for image in named[:MOST_IMAGES]
    )


def machine_inventory() -> Inventory:
    """What is known without the Engine: what a machine shows when it asks for membership."""
    return Inventory(
        hostname=socket.gethostname(),
        arch={"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        os=platform.system(),
        kernel=platform.release(),
        agent_version=__version__,
        capacity=Amounts(
            cpu_millis=(os.cpu_count() or 1) * 1000,
            memory_bytes=psutil.virtual_memory().total,
            disk_bytes=psutil.disk_usage("/").total,
        ),
    )


def usage(data_dir: str) -> Amounts:
    """What is in use on this machine since the last call (processor) and right now (memory, disk)."""
    memory = psutil.virtual_memory()
    return Amounts(
        cpu_millis=round(psutil.cpu_percent() / 100 * (os.cpu_count() or 1) * 1000),
        memory_bytes=memory.total - memory.available,
        disk_bytes=psutil.disk_usage(data_dir).used,
    )


def _nearest_folder(path: str) -> str:
    """The Engine's folder, or the nearest one above it that this process sees (an agent in a container sees less)."""
    folder = Path(path or "/")
    while not folder.is_dir():
        folder = folder.parent
    return str(folder)
