"""G15: a deploy among many nodes and workloads against one among ten, and what heartbeats cost.  `python -m bench.g15_crowd [--full-size]`

The services' own code on a real Postgres.  A deploy is the accept, the scheduler's round and the document of the node; what agents do is
simulated by what they send.  Heartbeats are taken as bytes, judged each second and written as the registry does it; one is sent every 5 s.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

import uvloop

from bench.crowd import IMAGE, Crowd, crowd, next_name, postgres_server, server_pids
from bench.harness import compare, cpu_s, is_full_size
from lattice.contracts.messages import Caller, CreateWorkload, Heartbeat
from lattice.contracts.spec import WorkloadSpec
from lattice.messaging import Received
from services.registry import workload_create
from services.registry.judging import Judge
from services.registry.presence import Presence

NODES, WORKLOADS = (10_000, 100_000) if is_full_size() else (1_000, 5_000)
FEW, MANY = "10 nodes", f"{NODES:,} nodes, {WORKLOADS:,} workloads"
HEARTBEAT_EVERY_S = 5
ROUNDS = 5
GOALS = "goals: at most 1.1 x that at 10 nodes; heartbeats at most 5 % of a core at 10,000 nodes; at most 10 KiB per node"
CALLER = Caller(actor="user:bench")


async def deploy(found: Crowd) -> int:
    """From the request to the document that its node gets."""
    spec = WorkloadSpec(name=next_name(), image=IMAGE, resources={"cpu": "100m", "memory": "64Mi"})
    accepted = await workload_create.create_workload(found.deps, CreateWorkload(caller=CALLER, spec=spec))
    assert accepted.workload is not None
    left = await found.rounds._round(frozenset({accepted.workload.id}))
    assert left == 0, "there is room"
    await found.relay.round()
    return 1


async def heartbeats(found: Crowd, own_pids: Sequence[int]) -> tuple[float, float]:
    """The part of a core that the heartbeats of all nodes take, and the bytes of memory per node."""
    presence = Presence(found.deps.now)
    judge = Judge(found.deps, presence, monotonic_s=time.monotonic, is_connected=lambda: True)
    sent = [
        Heartbeat(node_id=node_id, boot_id="b", session=1, agent_version="1").model_dump_json().encode()
        for node_id in found.nodes
    ]
    per_node = await _bytes_per_node(sent)
    parts = []
    for _ in range(ROUNDS):
        began_s = cpu_s(own_pids)
        for second in range(HEARTBEAT_EVERY_S):
            await _hear(presence, sent[second::HEARTBEAT_EVERY_S])
            await judge.tick()
        parts.append((cpu_s(own_pids) - began_s) / HEARTBEAT_EVERY_S)
    return statistics.median(parts), per_node


async def _hear(presence: Presence, sent: Sequence[bytes]) -> None:
    for raw in sent:
        heard = Heartbeat.model_validate_json(raw)
        await presence.hear(Received(heard, "", {"node_id": heard.node_id}))


async def _bytes_per_node(sent: Sequence[bytes]) -> float:
    presence = Presence(lambda: datetime.now(UTC))
    tracemalloc.start()
    await _hear(presence, sent)
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return kept_bytes / len(sent)


async def measure(urls: Mapping[str, str], own_pids: Sequence[int]) -> list[str]:
    """The table of this benchmark."""
    async with crowd(urls[FEW], nodes=10) as few, crowd(urls[MANY], nodes=NODES) as many:
        await many.add_workloads(WORKLOADS, placed=True)
        contestants = {FEW: partial(deploy, few), MANY: partial(deploy, many)}
        done = await compare(contestants, rounds=ROUNDS, own_pids=own_pids)
        part, per_node = await heartbeats(many, own_pids)
    times = [f"{name}: {1000 / done.rate(name):.0f} ms" for name in contestants]
    return [
        "## G15: a crowd of nodes and workloads",
        "",
        *done.lines(FEW),
        "",
        f"a deploy: {'; '.join(times)}; {1 / done.ratio(MANY, FEW):.1f} x that at 10 nodes",
        "",
        f"heartbeats of {NODES:,} nodes every {HEARTBEAT_EVERY_S} s: {100 * part:.1f} % of a core, {per_node / 1024:.1f} KiB per node in the"
        f" registry, which keeps no workloads in memory ({GOALS})",
        "",
    ]


def main() -> None:
    """Print the table of this benchmark."""
    with postgres_server() as server:
        urls = {name: server.create(f"bench{number}") for number, name in enumerate((FEW, MANY))}
        print("\n".join(uvloop.run(measure(urls, server_pids(server)))))


if __name__ == "__main__":
    main()
