"""G6: constrained placements with their durable record, at 10,000 nodes against 1,000.  `python -m bench.g6_placement`

The scheduler's decisions and the registry's commit, 256 instances at a time; what is counted per core is the CPU of both and of Postgres.  The
instances are accepted outside of the time.  Reading the nodes, which a round does once, is measured beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from functools import partial

import uvloop

from bench.crowd import Crowd, crowd, postgres_server, server_pids
from bench.harness import compare
from services.scheduler.rounds import BATCH_SIZE

SIZES = {"1,000 nodes": 1_000, "10,000 nodes": 10_000}
SMALL, LARGE = SIZES
BATCHES, ROUNDS = 1, 4
GOALS = "goals: at least 5,000 per second and core; a decision at most 1.5 x one at 1,000 nodes"


async def place(found: Crowd) -> int:
    """Place what waits, as a round does once it has read the nodes."""
    for begin in range(0, len(found.waiting), BATCH_SIZE):
        left = await found.rounds._place(found.waiting[begin : begin + BATCH_SIZE], found.nodes)
        assert left == 0, "every request has room"
    return len(found.waiting)


def main() -> None:
    """Print the table of this benchmark."""
    with postgres_server() as server:
        urls = {name: server.create(f"bench{number}") for number, name in enumerate(SIZES)}
        print("\n".join(uvloop.run(measure(urls, server_pids(server)))))


async def measure(urls: Mapping[str, str], own_pids: Sequence[int]) -> list[str]:
    """The table of this benchmark."""
    reads_ms: dict[str, list[float]] = {name: [] for name in SIZES}
    async with (
        crowd(urls[SMALL], nodes=SIZES[SMALL]) as small,
        crowd(urls[LARGE], nodes=SIZES[LARGE]) as large,
    ):
        crowds = {SMALL: small, LARGE: large}

        async def prepare(name: str) -> None:
            await crowds[name].add_workloads(BATCHES * BATCH_SIZE // 2, replicas=2)
            began_s = time.perf_counter()
            await crowds[name].look()
            reads_ms[name].append(1000 * (time.perf_counter() - began_s))

        for name in SIZES:
            await prepare(name)
        contestants = {name: partial(place, found) for name, found in crowds.items()}
        done = await compare(contestants, rounds=ROUNDS, own_pids=own_pids, tidy=prepare)
    per_core = [f"{name}: {1e6 / done.cpu_us(name):,.0f}" for name in SIZES]
    reads = [f"{name}: {statistics.median(found):.0f} ms" for name, found in reads_ms.items()]
    cost = statistics.median(each[LARGE].cpu_us / each[SMALL].cpu_us for each in done.rounds)
    return [
        "## G6: constrained placement with durable record",
        "",
        *done.lines(SMALL),
        "",
        f"per second and core: {'; '.join(per_core)}; one at 10,000 nodes costs {cost:.2f} x one at 1,000 ({GOALS})",
        "",
        f"reading the nodes once: {'; '.join(reads)}",
        "",
    ]


if __name__ == "__main__":
    main()
