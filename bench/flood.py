"""Deploys beside a flood of log lines: how much slower they are, and how much of that is the containers' and the Engine's own doing.

Three states of one platform take turns: quiet; beside three containers of the bare Engine that write as fast as they may, whose logs nobody
reads: the floor; and beside three workloads that write the same, whose lines are collected and stored.  In each state some deploys through REST
and some bare starts are timed, one after the other.  A container is held by stopping its processes, of which the Engine knows nothing.
`python -m bench.flood`
"""

from __future__ import annotations

import asyncio
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil

from agent.docker_options import LOG_CONFIG
from bench.deploying import (
    CPU_MILLIS,
    Platform,
    Starts,
    bare,
    bare_config,
    engine_cpu_s,
    network,
    platform,
    remove_bare,
    starts,
)
from bench.harness import is_full_size

QUIET, FLOOR, OURS = "quiet", "beside it, unread", "beside it, collected"
LATTICE, BARE = "Lattice", "the bare Engine"
GOAL = 2.0
CONTAINERS, FLOOD_CPU_MILLIS = 3, 400
ROUNDS, FULL_ROUNDS, DEPLOYS = 4, 20, 5
_SAY = ["sh", "-c", f"i=0; while :; do echo line $i {'x' * 100}; i=$((i+1)); done"]
# What a flood left in buffers and spools is gone when the next state begins.
_SETTLE_S = 2.0


@dataclass
class Flood:
    """Containers that write while `flowing`."""

    pids: Sequence[int]

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        self._each(psutil.Process.resume)
        await asyncio.sleep(_SETTLE_S)
        try:
            yield
        finally:
            self._each(psutil.Process.suspend)
            await asyncio.sleep(_SETTLE_S)

    def _each(self, act: Callable[[psutil.Process], None]) -> None:
        for pid in self.pids:
            for process in psutil.Process(pid).children(recursive=True):
                act(process)


@dataclass
class Seen:
    """What was seen in one state: seconds of each deploy and start, and CPU seconds of each part while the state lasted."""

    took_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    lasted_s: float = 0.0

    def median_ms(self, whose: str) -> float:
        return 1000 * statistics.median(self.took_s[whose])

    def slow_ms(self, whose: str) -> float:
        """The 99th percentile; of fewer than a hundred, the slowest."""
        return 1000 * sorted(self.took_s[whose])[-1 - len(self.took_s[whose]) // 100]

    def cores(self, part: str) -> float:
        """How many cores a part took."""
        return self.cpu_s[part] / self.lasted_s


@asynccontextmanager
async def flood_of(engine: Starts, ids: Sequence[str]) -> AsyncIterator[Flood]:
    """The flood of these containers, held at first."""
    shown = [await (await engine.docker.containers.get(each)).show() for each in ids]
    flood = Flood([each["State"]["Pid"] for each in shown])
    async with flood.flowing():
        pass
    yield flood


async def bare_floods(engine: Starts, network_id: str) -> list[str]:
    """Containers as Lattice makes them, without it."""
    return [await _bare_flood(engine, f"flood-{number}", network_id) for number in range(CONTAINERS)]


async def _bare_flood(engine: Starts, value: str, network_id: str) -> str:
    config = bare_config(value, network_id, FLOOD_CPU_MILLIS) | {"Cmd": _SAY}
    config["HostConfig"] |= {"LogConfig": LOG_CONFIG, "PortBindings": {}}
    container = await engine.docker.containers.create(config)
    await container.start()
    return str(container.id)


async def lattice_floods(found: Platform, engine: Starts) -> list[str]:
    """The same as workloads."""
    resources = {"cpu": f"{FLOOD_CPU_MILLIS}m", "memory": "64Mi"}
    return [await _start(found, engine, command=_SAY, resources=resources) for _ in range(CONTAINERS)]


async def _start(found: Platform, engine: Starts, **spec: Any) -> str:
    """The id of a workload's container, once it runs."""
    accepted = await found.accept(**spec)
    workload = accepted["workload"]["id"]
    await engine.of("lattice.workload", workload)
    (container,) = await _containers_of(engine, workload)
    return str(container.id)


async def _containers_of(engine: Starts, workload: str) -> list[Any]:
    filters = f'{{"label": ["lattice.workload={workload}"]}}'
    return await engine.docker.containers.list(all=True, filters=filters)


async def deploy(found: Platform, engine: Starts) -> float:
    """Seconds from the POST until the container runs; it is gone when this returns."""
    began_s = perf_counter()
    accepted = await found.accept(resources={"cpu": f"{CPU_MILLIS}m", "memory": "64Mi"})
    workload = accepted["workload"]["id"]
    await engine.of("lattice.workload", workload)
    took_s = perf_counter() - began_s
    (await found.client.delete(f"/v1/workloads/{workload}")).raise_for_status()
    while await _containers_of(engine, workload):
        await asyncio.sleep(0.05)
    return took_s


async def start_bare(engine: Starts, network_id: str) -> float:
    """The same without Lattice."""
    began_s = perf_counter()
    await bare(engine, network_id)
    return perf_counter() - began_s


class Parts:
    """Whose CPU is counted, by name."""

    def __init__(self, pids: Sequence[int], floods: Sequence[Flood]) -> None:
        self._floods = floods
        self._named = {pid: _name(psutil.Process(pid)) for pid in pids}

    def cpu_s(self) -> dict[str, float]:
        found: dict[str, float] = defaultdict(float)
        for pid, name in self._named.items():
            found[name] += _tree_s(pid)
        found["Engine"] = engine_cpu_s()
        found["containers"] = sum(_tree_s(pid) for flood in self._floods for pid in flood.pids)
        return found


def _name(process: psutil.Process) -> str:
    """`logs` of `python -m services.logs`; what is not ours by its program."""
    argv = process.cmdline()
    return argv[argv.index("-m") + 1].removeprefix("services.") if "-m" in argv else Path(argv[0]).name


def _tree_s(pid: int) -> float:
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


async def turn(seen: Seen, parts: Parts, timed: Mapping[str, Callable[[], Awaitable[float]]]) -> None:
    """Some deploys and starts in the state of the moment."""
    before, began_s = parts.cpu_s(), perf_counter()
    for _ in range(DEPLOYS):
        for name, act in timed.items():
            seen.took_s[name].append(await act())
    seen.lasted_s += perf_counter() - began_s
    for part, cpu_s in parts.cpu_s().items():
        seen.cpu_s[part] += cpu_s - before[part]


async def measure(rounds: int) -> dict[str, Seen]:
    seen = {QUIET: Seen(), FLOOR: Seen(), OURS: Seen()}
    async with platform() as found, starts() as engine, network(engine.docker) as own_network:
        timed: dict[str, Callable[[], Awaitable[float]]] = {
            LATTICE: lambda: deploy(found, engine),
            BARE: lambda: start_bare(engine, own_network),
        }
        try:
            async with (
                flood_of(engine, await bare_floods(engine, own_network)) as unread,
                flood_of(engine, await lattice_floods(found, engine)) as collected,
            ):
                parts = Parts(found.pids, [unread, collected])
                for _ in range(rounds):
                    await turn(seen[QUIET], parts, timed)
                    async with unread.flowing():
                        await turn(seen[FLOOR], parts, timed)
                    async with collected.flowing():
                        await turn(seen[OURS], parts, timed)
        finally:
            remove_bare()
    return seen


def report(seen: Mapping[str, Seen]) -> list[str]:
    quiet = seen[QUIET]
    rows = [
        f"| {state} | {whose} | {each.median_ms(whose):.0f} ms | {each.slow_ms(whose):.0f} ms"
        f" | {each.median_ms(whose) / quiet.median_ms(whose):.2f} | {each.slow_ms(whose) / quiet.slow_ms(whose):.2f} |"
        for state, each in seen.items()
        for whose in each.took_s
    ]
    names = sorted(quiet.cpu_s, key=lambda part: -seen[OURS].cpu_s[part])
    cores = [
        f"| {state} | " + " | ".join(f"{each.cores(part):.2f}" for part in names) + " |"
        for state, each in seen.items()
    ]
    ours, floor = seen[OURS], seen[FLOOR]
    slower = ours.slow_ms(LATTICE) / quiet.slow_ms(LATTICE)
    return [
        f"## Deploys beside a flood: {CONTAINERS} containers at {FLOOD_CPU_MILLIS / 1000:g} of a core each",
        "",
        "| state | who starts | median | slow | median / quiet | slow / quiet |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"Slow is the 99th percentile, of fewer than a hundred the slowest; {len(quiet.took_s[LATTICE])} deploys in each state.",
        f"Beside the flood the slow deploy takes {slower:.2f} x a quiet one (goal: at most {GOAL:g} x)"
        f" and {ours.slow_ms(LATTICE) / floor.slow_ms(LATTICE):.2f} x one beside a flood that nobody reads;"
        f" the median {ours.median_ms(LATTICE) / floor.median_ms(LATTICE):.2f} x.",
        "",
        f"| cores taken | {' | '.join(names)} |",
        "|---" * (len(names) + 1) + "|",
        *cores,
        "",
    ]


def main() -> None:
    print("\n".join(report(asyncio.run(measure(FULL_ROUNDS if is_full_size() else ROUNDS)))))


if __name__ == "__main__":
    main()
