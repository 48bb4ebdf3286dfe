"""G3: the durable accept of a deploy (fsync included), against Docker Swarm's.  `python -m bench.g3_accept`

Nothing is started: both are asked for something that no node may take, so the accept alone is measured.  A route of the gateway that does
nothing, asked through the same client and over the same TLS, shows how much of our time is the request itself.
"""

from __future__ import annotations

import asyncio

from bench.deploying import next_value, platform, swarm
from bench.harness import compare

GOAL = "goal: at most 0.5 x Swarm's time"
ACCEPTS = 20


async def measure() -> list[str]:
    """The table of this benchmark."""
    async with platform() as found, swarm() as create:

        async def ours() -> int:
            for _ in range(ACCEPTS):
                await found.accept(placement={"constraints": ["label.bench == none"]})
            return ACCEPTS

        async def theirs() -> int:
            for _ in range(ACCEPTS):
                await create(next_value(), ["node.labels.bench==none"])
            return ACCEPTS

        async def empty_route() -> int:
            for _ in range(ACCEPTS):
                (await found.client.get("/healthz")).raise_for_status()
            return ACCEPTS

        contestants = {"Swarm": theirs, "Lattice": ours, "empty route": empty_route}
        done = await compare(contestants, own_pids=found.pids)
    slower = 1 / done.ratio("Lattice", "Swarm")
    above_empty = 1 / done.ratio("Lattice", "empty route")
    times = [f"{name}: {1000 / done.rate(name):.1f} ms" for name in contestants]
    summary = (
        f"Lattice takes {slower:.2f} x Swarm's time ({GOAL}), and {above_empty:.2f} x that of an empty route"
    )
    return ["## G3: durable accept of a deploy", "", *done.lines("Swarm"), "", "; ".join(times), "", summary]


if __name__ == "__main__":
    print("\n".join(asyncio.run(measure())))
