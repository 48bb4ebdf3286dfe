"""G4: many replicas at once, against the bare Engine at its best concurrency and Docker Swarm.  `python -m bench.g4_replicas [--full-size]`

From the request until the last container runs; they are removed between turns, outside of the time.  The bare Engine gets them from one
process that keeps as many calls under way as served it best in a trial just before; its network is one of its own, as Lattice's are.
"""

from __future__ import annotations

import asyncio
import os
import time

from bench.deploying import (
    LABEL,
    Platform,
    Starts,
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
from bench.harness import Contestant, compare, is_full_size

# A round with 100 takes five minutes, most of them Swarm's.
REPLICAS, ROUNDS = (100, 3) if is_full_size() else (20, 3)
CONCURRENCIES = (4, 8, 16)
# The reservations of all have to fit the cores of this machine, and a hundredth of a core makes one start take a second and a half.
CPU_MILLIS = max(10, min(100, (os.cpu_count() or 1) * 1000 // REPLICAS))
_BARE = "the bare Engine"
GOALS = (
    "goals: at least 0.95 x the bare Engine's rate and 1.15 x Swarm's; own CPU at most 5 % of the containers'"
)


async def measure() -> list[str]:
    """The table of this benchmark."""
    async with (
        platform() as found,
        starts() as engine,
        network(engine.docker) as own_network,
        swarm() as create,
    ):

        async def through_swarm() -> int:
            value = next_value()
            started = engine.of(LABEL, value, REPLICAS)
            services.append(await create(value, replicas=REPLICAS, cpu_millis=CPU_MILLIS))
            await started
            return REPLICAS

        async def tidy(name: str) -> None:
            if name == _BARE:
                remove_bare()
            for service in services:
                await engine.docker._query_json(f"services/{service}", method="DELETE")
            services.clear()
            await ours.remove()
            await until_gone(LABEL)

        services: list[str] = []
        ours = _Ours(found, engine)
        try:
            concurrency = await _best_concurrency(engine, own_network)
            contestants: dict[str, Contestant] = {
                _BARE: lambda: _bare(engine, own_network, concurrency),
                "Lattice": ours.deploy,
                "Swarm": through_swarm,
            }
            done = await compare(
                contestants, rounds=ROUNDS, own_pids=found.pids, engine_cpu_s=engine_cpu_s, tidy=tidy
            )
        finally:
            remove_bare()
    return [
        f"## G4: {REPLICAS} replicas (the bare Engine with {concurrency} at a time)",
        "",
        *done.lines(_BARE),
        "",
        "; ".join(f"{name}: {done.rate(name):.1f}/s" for name in contestants),
        "",
        f"Lattice's rate is {done.ratio('Lattice', _BARE):.2f} x the bare Engine's, {done.ratio('Lattice', 'Swarm'):.2f} x Swarm's;"
        f" its own CPU is {100 * done.engine_part('Lattice'):.1f} % of what the Engine took for the containers ({GOALS})",
    ]


class _Ours:
    """Deploys through REST, and removes what it deployed."""

    def __init__(self, found: Platform, engine: Starts) -> None:
        self._found, self._engine = found, engine
        self._deployed: list[str] = []

    async def deploy(self) -> int:
        accepted = await self._found.accept(
            ports=[{"name": "http", "port": 80}],
            resources={"cpu": f"{CPU_MILLIS}m", "memory": "64Mi"},
            replicas=REPLICAS,
        )
        workload = accepted["workload"]["id"]
        self._deployed.append(workload)
        await self._engine.of("lattice.workload", workload, REPLICAS)
        return REPLICAS

    async def remove(self) -> None:
        for workload in self._deployed:
            (await self._found.client.delete(f"/v1/workloads/{workload}")).raise_for_status()
            await until_gone(f"lattice.workload={workload}")
        self._deployed.clear()


async def _best_concurrency(engine: Starts, on: str) -> int:
    """Which number of calls under way serves the bare Engine best; each is tried once, after one to warm up."""
    took_s: dict[int, float] = {}
    for concurrency in (CONCURRENCIES[0], *CONCURRENCIES):
        began_s = time.perf_counter()
        await _bare(engine, on, concurrency)
        took_s[concurrency] = time.perf_counter() - began_s
        remove_bare()
    return min(took_s, key=lambda concurrency: took_s[concurrency])


async def _bare(engine: Starts, on: str, concurrency: int) -> int:
    limit = asyncio.Semaphore(concurrency)
    value = next_value()
    started = engine.of(LABEL, value, REPLICAS)

    async def one() -> None:
        async with limit:
            container = await engine.docker.containers.create(bare_config(value, on, CPU_MILLIS))
            await container.start()

    await asyncio.gather(*(one() for _ in range(REPLICAS)))
    await started
    return REPLICAS


if __name__ == "__main__":
    print("\n".join(asyncio.run(measure())))
