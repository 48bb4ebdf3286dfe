"""G5: from the kill of a container until its replacement runs.  `python -m bench.g5_restart`

Against one start of the bare Engine (create and start), Docker Swarm with a delay of 0, and the floor: somebody who waits for the end of the
killed container and starts it again at once.  What is killed has run for longer than a second, and never ended before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from bench.deploying import (
    LABEL,
    Platform,
    Starts,
    bare,
    bare_config,
    engine_cpu_s,
    network,
    next_value,
    platform,
    remove_bare,
    starts,
    swarm,
    until_gone,
)
from bench.harness import compare

ROUNDS = 4
_BARE, _BY_HAND, _OURS, _SWARM = "one bare start", "killed and started again by hand", "Lattice", "Swarm"
GOALS = "goal: at most 1.3 x one bare start, at most 0.5 x Swarm's time"
# Lattice starts what ran this long again without a pause.  Only at first it has to be waited for: later the others' turns take longer.
RUNS_S = 1.1
Create = Callable[..., Awaitable[str]]


class _Turns:
    """What there is to kill: one container of each contestant, made outside of the time."""

    def __init__(self, found: Platform, engine: Starts, own_network: str, create: Create) -> None:
        self._found, self._engine, self._network, self._create = found, engine, own_network, create
        self._service = self._workload = ""
        self._label: dict[str, tuple[str, str]] = {}

    async def prepare(self, name: str) -> None:
        """Something that runs, instead of what was killed last."""
        value = next_value()
        if name == _BY_HAND:
            self._label[name] = (LABEL, value)
            container = await self._engine.docker.containers.create(bare_config(value, self._network))
            await container.start()
        elif name == _SWARM:
            await self._prepare_swarm(value)
        elif name == _OURS:
            await self._prepare_ours()

    async def _prepare_swarm(self, value: str) -> None:
        if self._service:
            label, before = self._label[_SWARM]
            await self._engine.docker._query_json(f"services/{self._service}", method="DELETE")
            await until_gone(f"{label}={before}")
        self._label[_SWARM] = (LABEL, value)
        started = self._engine.of(LABEL, value)
        self._service = await self._create(value)
        await started

    async def _prepare_ours(self) -> None:
        if self._workload:
            (await self._found.client.delete(f"/v1/workloads/{self._workload}")).raise_for_status()
            await until_gone(f"lattice.workload={self._workload}")
        ports = [{"name": "http", "port": 80}]
        accepted = await self._found.accept(ports=ports, resources={"cpu": "100m", "memory": "64Mi"})
        self._workload = accepted["workload"]["id"]
        self._label[_OURS] = ("lattice.workload", self._workload)
        await self._engine.of(*self._label[_OURS])

    async def kill(self, name: str) -> int:
        """Kill it, and wait for what takes its place."""
        label, value = self._label[name]
        (container,) = await self._engine.docker.containers.list(filters={"label": [f"{label}={value}"]})
        started = self._engine.of(label, value)
        await container.kill(signal="SIGKILL")
        if name == _BY_HAND:
            await container.wait()
            await container.start()
        await started
        return 1


async def measure() -> list[str]:
    """The table of this benchmark."""
    async with (
        platform() as found,
        starts() as engine,
        network(engine.docker) as own_network,
        swarm() as create,
    ):
        turns = _Turns(found, engine, own_network, create)
        killed = (_BY_HAND, _OURS, _SWARM)
        contestants = {_BARE: partial(bare, engine, own_network)} | {
            name: partial(turns.kill, name) for name in killed
        }
        try:
            for name in killed:
                await turns.prepare(name)
            await asyncio.sleep(RUNS_S)
            done = await compare(
                contestants,
                rounds=ROUNDS,
                own_pids=found.pids,
                engine_cpu_s=engine_cpu_s,
                tidy=turns.prepare,
            )
        finally:
            remove_bare()
    return done.report("G5: kill to running replacement", ours=_OURS, peer=_BARE, goals=GOALS)


if __name__ == "__main__":
    print("\n".join(asyncio.run(measure())))
