"""What a constrained placement costs, and how that grows with the number of nodes.

Decisions alone, without their durable record: `place_all` over batches as the scheduler makes them, on fleets of 1,000 and of 10,000
nodes that take turns.  `python -m bench.place`
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from lattice.contracts.messages import PlacementRequest, SchedulableNode
from lattice.contracts.nouns import Amounts
from services.scheduler.placement import Placed, place_all
from services.scheduler.rounds import BATCH_SIZE

ROUNDS = 7
BATCHES_PER_ROUND = 4
GIB = 2**30
ZONES = ("home", "office", "attic", "shed")


def fleet(size: int) -> list[SchedulableNode]:
    """Nodes in four zones, a tenth of them cordoned, filled to different degrees."""
    return [
        SchedulableNode(
            node_id=f"nd-{n:05}",
            name=f"n{n}",
            placement_version=1,
            state="cordoned" if n % 10 == 0 else "ready",
            arch="amd64" if n % 3 else "arm64",
            pool="default",
            labels={"zone": ZONES[n % 4]},
            capacity=Amounts(cpu_millis=64_000, memory_bytes=256 * GIB, disk_bytes=2000 * GIB),
            reserved=Amounts(cpu_millis=n % 97 * 100, memory_bytes=n % 89 * GIB),
        )
        for n in range(size)
    ]


def requests(count: int, *, kinds: int) -> list[PlacementRequest]:
    """Instances of many workloads that ask for `kinds` different things."""
    return [
        PlacementRequest(
            instance_id=f"in-{n:06}",
            workload_id=f"wl-{n // 2}",
            workload_name=f"w{n // 2}",
            project="default",
            slot=n % 2,
            workload_generation=1,
            reserve=Amounts(cpu_millis=100 + n % kinds, memory_bytes=GIB // 4),
            constraints=("arch == amd64", f"label.zone != {ZONES[n % kinds % 4]}"),
        )
        for n in range(count)
    ]


def decisions_per_s(nodes: Sequence[SchedulableNode], wanted: Sequence[PlacementRequest]) -> float:
    began = time.perf_counter()
    for _ in range(BATCHES_PER_ROUND):
        decisions = place_all(wanted, nodes)
        if not all(isinstance(decision, Placed) for decision in decisions):
            raise AssertionError("every request has room on these fleets")
    return BATCHES_PER_ROUND * len(wanted) / (time.perf_counter() - began)


def interleaved(contenders: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, measure in contenders.items():
            found[name].append(measure())
    return found


def main() -> None:
    small, large = fleet(1_000), fleet(10_000)
    for kinds in (1, 16):
        wanted = requests(BATCH_SIZE, kinds=kinds)
        found = interleaved(
            {
                "1,000 nodes": lambda wanted=wanted: decisions_per_s(small, wanted),  # type: ignore[misc]
                "10,000 nodes": lambda wanted=wanted: decisions_per_s(large, wanted),  # type: ignore[misc]
            }
        )
        cost = statistics.median(
            few / many for few, many in zip(found["1,000 nodes"], found["10,000 nodes"], strict=True)
        )
        print(f"batches of {BATCH_SIZE}, {kinds} kinds of request")
        for name, rounds in found.items():
            print(f"  {name:14} {statistics.median(rounds):10,.0f} decisions/s")
        print(f"  a decision at 10,000 nodes costs {cost:.1f} x one at 1,000")


if __name__ == "__main__":
    main()
