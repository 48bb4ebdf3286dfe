"""G1: from the request to the running container, against the bare Engine and Docker Swarm.  `python -m bench.g1_deploy`"""

from __future__ import annotations

import asyncio
from functools import partial

from bench.deploying import bare, lattice, next_value, platform, remove_bare, starts, swarm
from bench.harness import Contestant, compare

GOALS = "goal: at most 1.10 x the bare Engine's time, at most 0.65 x Swarm's"


async def measure() -> list[str]:
    """The table of this benchmark."""
    async with platform() as found, starts() as engine, swarm() as create:

        async def through_swarm() -> int:
            value = next_value()
            started = engine.of("lattice.bench", value)
            await create(value)
            await started
            return 1

        contestants: dict[str, Contestant] = {
            "bare Engine": partial(bare, engine),
            "Lattice": lattice(found, engine),
            "Swarm": through_swarm,
        }
        try:
            done = await compare(contestants, own_pids=found.pids)
        finally:
            remove_bare()
    slower = 1 / done.ratio("Lattice", "bare Engine"), 1 / done.ratio("Lattice", "Swarm")
    times = [f"{name}: {1000 / done.rate(name):.0f} ms" for name in contestants]
    summary = (
        f"Lattice takes {slower[0]:.2f} x the bare Engine's time and {slower[1]:.2f} x Swarm's ({GOALS})"
    )
    return [
        "## G1: request to running container",
        "",
        *done.lines("bare Engine"),
        "",
        "; ".join(times),
        "",
        summary,
    ]


if __name__ == "__main__":
    print("\n".join(asyncio.run(measure())))
