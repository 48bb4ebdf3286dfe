"""G1: from the request to the running container, against the bare Engine and Docker Swarm.  `python -m bench.g1_deploy`

The bare Engine runs twice: on Docker's default bridge, and on a bridge network of its own.  Lattice puts nothing on the default bridge, where
every container reaches every other, and a network of its own costs the Engine itself more: only the second shows what Lattice adds.
"""

from __future__ import annotations

import asyncio
from functools import partial

from bench.deploying import (
    bare,
    engine_cpu_s,
    lattice,
    network,
    next_value,
    platform,
    remove_bare,
    starts,
    swarm,
)
from bench.harness import Contestant, compare

# A single deploy each, so more rounds; all of them, and as many noisy ones, have to fit the cores of a small machine.
ROUNDS = 9
_BARE, _BARE_ON_OWN = "the bare Engine", "the bare Engine on a network of its own"
GOALS = "goal: at most 1.10 x the bare Engine's time, at most 0.65 x Swarm's"


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
            started = engine.of("lattice.bench", value)
            await create(value)
            await started
            return 1

        contestants: dict[str, Contestant] = {
            _BARE: partial(bare, engine),
            _BARE_ON_OWN: partial(bare, engine, own_network),
            "Lattice": lattice(found, engine),
            "Swarm": through_swarm,
        }
        try:
            done = await compare(contestants, rounds=ROUNDS, own_pids=found.pids, engine_cpu_s=engine_cpu_s)
        finally:
            remove_bare()
    return done.report("G1: request to running container", ours="Lattice", peer=_BARE, goals=GOALS)


if __name__ == "__main__":
    print("\n".join(asyncio.run(measure())))
