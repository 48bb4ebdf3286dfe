"""Files of the node under owners that only the Engine can give: for an agent that is not root.

A container that is never started has the folder mounted; what is unpacked into it gets the owners that the archive names, as the Engine is root
(or maps them, where it maps users).  It is made from the image that is about to run, which is here already, and removed at once.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from aiodocker import Docker

from agent.docker_options import check_files_request, files_request
from agent.docker_runtime_errors import ENGINE_ERRORS
from agent.naming import files_container_name
from lattice.runtime import OwnedFile

_INSIDE = "/lattice-files"


class DockerFiles:
    """Writes files through one Engine, one folder at a time: the container that helps has one name, so a crash leaves at most one."""

    def __init__(self, docker: Docker, files_root: Path) -> None:
        self._docker, self._files_root = docker, files_root
        self._lock = asyncio.Lock()

    async def write(self, folder: Path, files: Sequence[OwnedFile], *, image: str, cluster_id: str) -> None:
        """Write `files` into `folder`, in place of what has their names.  Raises Forbidden for a folder that is not the agent's own."""
        request = files_request(image, folder, inside=_INSIDE)
        check_files_request(request, files_root=self._files_root)
        name = files_container_name(cluster_id)
        async with self._lock:
            await self._remove(name)
            helper = await self._docker.containers.create(request, name=name)
            try:
                await helper.put_archive(_INSIDE, archive_of(files))
            finally:
                await self._remove(name)

    async def _remove(self, name: str) -> None:
        with suppress(
            *ENGINE_ERRORS
        ):  # none is there; one that stays makes the next creation fail, with its reason
            await self._docker.containers.container(name).delete(force=True, v=True)


def archive_of(files: Sequence[OwnedFile]) -> bytes:
    """A tar archive of the files, with their owners and modes.  Pure."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for file in files:
            entry = tarfile.TarInfo(file.name)
            entry.size, entry.mode, entry.uid, entry.gid = len(file.content), file.mode, file.uid, file.gid
            archive.addfile(entry, io.BytesIO(file.content))
    return packed.getvalue()
