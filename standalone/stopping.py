"""`lattice down`: ends the platform's processes, and the workloads only where that was asked for.

Workloads run on without a platform, and the next `up` adopts them.  To stop them too, the platform is told first, so that it does not start
them again; what it cannot stop any more is stopped by label.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

from lattice.errors import LatticeError
from lattice.runtime import Container, Runtime
from standalone.announcement import read_announcement, withdraw
from standalone.data_dir import DataDir, find_data_dir
from standalone.engine import open_engine
from standalone.gateway_client import GatewayClient, open_gateway
from standalone.leftovers import end_leftovers, find_leftovers, stop_supervisor
from standalone.printing import say
from standalone.settings import StandaloneSettings
from standalone.stopped import Json, listed, start_commands
from standalone.supervisor import read_status

DONE = 0
# Longer than any template's patience with its service.
CONTAINERS_STOP_S = 60.0
LOOK_S = 0.2


async def stop(root: Path, settings: StandaloneSettings, *, workloads: bool) -> int:
    """Stop what runs from this data directory; nothing to stop is fine."""
    data_dir = find_data_dir(root)
    if data_dir is None:
        say(f"No platform was started in {root}.")
        return DONE
    if workloads:
        await _ask_to_stop_workloads(data_dir, settings)
    say(await stop_processes(data_dir))
    if not workloads:
        await _tell_what_runs_on(data_dir, settings)
    else:
        stopped = await _stop_containers(data_dir, settings)
        say(f"Stopped {stopped} more containers." if stopped else "No workload runs any more.")
    return DONE


async def _tell_what_runs_on(data_dir: DataDir, settings: StandaloneSettings) -> None:
    """Nobody should find by chance that containers of a stopped platform still run.  An Engine that is away tells nothing."""
    with suppress(LatticeError):
        async with open_engine(settings.docker_url) as engine:
            if running := await running_containers(engine, data_dir.cluster_id):
                say(words_on_running(len(running)))


def words_on_running(count: int) -> str:
    """What is said of `count` containers that run without their platform."""
    subject = "1 container runs" if count == 1 else f"{count} containers run"
    return f"{subject} on without it; `lattice down --workloads` stops workloads, too."


async def stop_processes(data_dir: DataDir) -> str:
    """End the platform's processes; says what there was to end.  Raises Temporary if one does not end."""
    status = read_status(data_dir.status_file)
    found = find_leftovers(status)
    if status is None or not found:
        withdraw(data_dir)
        return f"The platform in {data_dir.root} was not running."
    if status.alive:
        await stop_supervisor(status)
    else:
        await end_leftovers(status)
    withdraw(data_dir)
    return f"Stopped the platform in {data_dir.root} ({len(found)} processes)."


async def _ask_to_stop_workloads(data_dir: DataDir, settings: StandaloneSettings) -> None:
    """Through the gateway, so that the next `up` leaves them stopped, too."""
    announcement = read_announcement(data_dir)
    if announcement is None:
        say("The platform is not running: its workloads are stopped now, and run again after the next `up`.")
        return
    try:
        async with open_gateway(announcement) as gateway:
            asked = await _stop_each(gateway)
        if asked:
            say(
                f"Stopping {listed(asked)}; after the next `up` they stay stopped, with their data, until you say:"
            )
            for command in start_commands(asked):
                say(f"  {command}")
            await _until_none_runs(data_dir, settings)
    except LatticeError as error:
        say(f"The platform cannot stop its workloads ({error}); their containers are stopped directly.")


async def _stop_each(gateway: GatewayClient) -> list[Json]:
    """Those that ran."""
    everything = await gateway.listing("/v1/workloads", project="*")
    running = [workload for workload in everything if workload["desired_state"] == "running"]
    for workload in running:
        await gateway.post(f"/v1/workloads/{workload['id']}/stop", project=workload["project"])
    return running


async def _until_none_runs(data_dir: DataDir, settings: StandaloneSettings) -> None:
    deadline_s = time.monotonic() + CONTAINERS_STOP_S
    async with open_engine(settings.docker_url) as engine:
        while await running_containers(engine, data_dir.cluster_id) and time.monotonic() < deadline_s:
            await asyncio.sleep(LOOK_S)


async def _stop_containers(data_dir: DataDir, settings: StandaloneSettings) -> int:
    async with open_engine(settings.docker_url) as engine:
        running = await running_containers(engine, data_dir.cluster_id)
        await asyncio.gather(*(engine.stop(each.name, timeout_s=each.stop_timeout_s) for each in running))
        return len(running)


async def running_containers(engine: Runtime, cluster_id: str) -> list[Container]:
    """The containers of this platform that run."""
    return [each for each in await engine.containers(cluster_id) if each.is_up]
