"""`lattice reset`: removes everything that Lattice made on this machine, and nothing else.

It needs no running platform and no valid database: what is ours carries the label `lattice.cluster` with the data directory's cluster id, or
lies in that directory.  Without `--yes` it only shows what it would remove.  The cluster id goes last, so a reset that was cut off is repeated,
and at the end it looks whether anything is left.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import stamina

from agent.docker_runtime import DockerRuntime
from agent.naming import files_container_name
from lattice.errors import LatticeError, Temporary
from lattice.runtime import EngineAway
from standalone.data_dir import CLUSTER_ID_FILE, OWN_ENTRIES, DataDir, exclusive, find_data_dir
from standalone.engine import open_engine
from standalone.leftovers import find_leftovers
from standalone.preparation import runtime_dir
from standalone.printing import answer, say
from standalone.settings import StandaloneSettings, ambient_environment
from standalone.stopping import stop_processes
from standalone.supervisor import read_status

DONE = 0
# For how long a removal that the Engine fails at is tried again.
INSIST_S = 30.0


@dataclass(frozen=True, slots=True)
class Belongings:
    """Everything of one platform that is on this machine."""

    processes: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()

    def lines(self) -> Iterator[str]:
        """One line for each thing, by kind."""
        kinds: dict[str, tuple[object, ...]] = {
            "process": self.processes,
            "container": self.containers,
            "volume (with its data)": self.volumes,
            "network": self.networks,
            "folder": self.folders,
        }
        for kind, things in kinds.items():
            yield from (f"  {kind:<22} {thing}" for thing in things)


async def reset_platform(root: Path, settings: StandaloneSettings, *, yes: bool) -> int:
    """Show what belongs to the platform of this data directory; with `yes`, remove it.

    Raises Temporary where something is left, or the Engine is away: then nothing was removed.
    """
    data_dir = find_data_dir(root)
    if data_dir is None:
        say(f"There is nothing to reset: {root} is no data directory of Lattice.")
        return DONE
    memory = runtime_dir(data_dir, ambient_environment())
    async with open_engine(settings.docker_url) as engine:
        found = await _look(data_dir, memory, engine)
        answer("\n".join([f"The platform {data_dir.cluster_id} in {data_dir.root} owns:", *found.lines()]))
        if not yes:
            say("Nothing was removed. `lattice reset --yes` removes all of this, with all data.")
            return DONE
        await _remove(data_dir, memory, engine)
    return DONE


async def _look(data_dir: DataDir, memory: Path, engine: DockerRuntime) -> Belongings:
    cluster_id = data_dir.cluster_id
    try:
        containers = tuple(each.name for each in await engine.containers(cluster_id))
        volumes, networks = tuple(await engine.volumes(cluster_id)), await engine.networks(cluster_id)
    except LatticeError as error:
        raise Temporary(
            f"{error} Without the Engine the containers and volumes of this platform cannot be found, so nothing was "
            "removed: start Docker first."
        ) from error
    processes = tuple(
        f"{each.name} ({each.identity.pid})" for each in find_leftovers(read_status(data_dir.status_file))
    )
    folders = tuple(path for path in (memory / cluster_id, data_dir.root) if path.exists())
    return Belongings(processes, containers, volumes, networks, folders)


async def _remove(data_dir: DataDir, memory: Path, engine: DockerRuntime) -> None:
    say(await stop_processes(data_dir))
    with exclusive(data_dir):  # nobody starts it again meanwhile
        await _remove_from_engine(data_dir.cluster_id, engine)
        remove_memory(memory, data_dir.cluster_id)
        left = await _look(data_dir, memory, engine)
        if left.containers or left.volumes or left.networks:
            raise Temporary("\n".join(["These could not be removed; try again:", *left.lines()]))
        foreign = remove_data_dir(data_dir)
    if foreign:
        say(f"Left alone, because Lattice did not make it: {', '.join(str(path) for path in foreign)}.")
    say("Everything was removed; nothing is left.")


async def _remove_from_engine(cluster_id: str, engine: DockerRuntime) -> None:
    for container in await engine.containers(cluster_id):
        await insist(partial(engine.remove, container.name))
    files = files_container_name(cluster_id)  # of an agent that was killed while it wrote files
    await insist(partial(engine.remove, files))
    for network in await engine.networks(cluster_id):
        await insist(partial(engine.remove_network, network))
    for volume in await engine.volumes(cluster_id):
        await insist(partial(engine.remove_volume, volume))


async def insist(remove: Callable[[], Awaitable[None]], *, timeout_s: float = INSIST_S) -> None:
    """Remove something though the Engine fails at first: after a restart it may find a container's files in use for a while.

    Raises the last error where it still fails after about `timeout_s`, and at once where the Engine is away.
    """
    stamina.instrumentation.set_on_retry_hooks([_tell_of_retry])
    async for attempt in stamina.retry_context(on=_may_pass, attempts=None, timeout=timeout_s, wait_max=2.0):
        with attempt:
            await remove()


def _may_pass(error: Exception) -> bool:
    return isinstance(error, Temporary) and not isinstance(error, EngineAway)


def _tell_of_retry(details: stamina.instrumentation.RetryDetails) -> None:
    say(f"{details.caused_by} Trying again in {details.wait_for:.1f} s.")


def remove_memory(memory: Path, cluster_id: str) -> None:
    """The files that containers were handed, and the folder above if no other platform uses it."""
    shutil.rmtree(memory / cluster_id, ignore_errors=True)
    if memory.exists() and not any(memory.iterdir()):
        memory.rmdir()


def remove_data_dir(data_dir: DataDir) -> list[Path]:
    """Remove what Lattice put there, its mark last; what is somebody else's is left, and returned."""
    for name in OWN_ENTRIES:
        path = data_dir.root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    foreign = [path for path in data_dir.root.iterdir() if path.name != CLUSTER_ID_FILE]
    (data_dir.root / CLUSTER_ID_FILE).unlink()
    if not foreign:
        data_dir.root.rmdir()
    return foreign
