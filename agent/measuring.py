"""Every 15 s: what this node and its instances use, to whoever gathers metrics.  A message that cannot be sent is left out: the next says more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from agent.health import HealthChecks
from agent.instance_readings import instance_readings, newest_containers
from agent.instance_usage import InstanceUsage
from agent.inventory import InventoryKeeper
from agent.journal import Journal
from agent.log_shipping import LogShipping
from agent.machine_usage import machine_readings
from agent.tunnel import Tunnels
from agent.world import World
from lattice import __version__
from lattice.clock import Clock
from lattice.contracts.catalogue import NODE_METRICS
from lattice.contracts.messages import NodeMetrics
from lattice.errors import LatticeError
from lattice.messaging import Bus
from lattice.metrics import instruments
from lattice.metrics.declared import node as declared
from lattice.metrics.readings import Reading, reading, tables_of

EVERY_S = 15.0
_FIRST_S = 1.0


class Measuring:
    """The measurements of one node; `run` is the loop that sends them."""

    def __init__(
        self,
        node_id: str,
        bus: Bus,
        usage: InstanceUsage,
        *,
        journal: Journal,
        world: World,
        health: HealthChecks,
        logs: LogShipping,
        inventory: InventoryKeeper,
        tunnels: Tunnels | None,
        engine_problem: Callable[[], str],
        clock: Clock,
        every_s: float = EVERY_S,
    ) -> None:
        self._node_id, self._bus, self._usage = node_id, bus, usage
        self._journal, self._world, self._health, self._logs = journal, world, health, logs
        self._inventory, self._tunnels = inventory, tunnels
        self._engine_problem = engine_problem
        self._clock, self._every_s = clock, every_s
        self._newest: list[Reading] = []

    async def run(self) -> None:
        """Measure and tell, for ever."""
        instruments.measure("node", lambda: self._newest)
        await asyncio.sleep(min(_FIRST_S, self._every_s))
        while True:
            await self.tell()
            await asyncio.sleep(self._every_s)

    async def tell(self) -> None:
        """Once."""
        self._newest = await self.measure()
        # What instruments of this process count, without what others of the same process may have measured.
        tables = tables_of([*self._newest, *instruments.counted()])
        message = NodeMetrics(node_id=self._node_id, taken_at=self._clock.now(), tables=tables)
        with suppress(LatticeError):
            await self._bus.publish(NODE_METRICS, message, node_id=self._node_id)

    async def measure(self) -> list[Reading]:
        """Everything of this node."""
        began_s = time.perf_counter()
        containers = self._world.containers
        running = [each for each in newest_containers(containers).values() if each.is_up]
        usage = await self._usage.measure(running)
        machine = await asyncio.to_thread(machine_readings, self._inventory.data_dir)
        instances = instance_readings(
            self._journal.document,
            containers,
            self._journal.facts,
            self._health.results,
            usage,
            self._logs.spool.counts.of,
        )
        took = reading(declared.MEASURE_SECONDS, time.perf_counter() - began_s)
        return [*machine, *self._own(), took, *instances]

    def _own(self) -> list[Reading]:
        """What the agent knows of its node by itself."""
        inventory, up = self._inventory.inventory, sum(each.is_up for each in self._world.containers)
        tunnels = self._tunnels
        found = [
            reading(declared.INFO, 1, self._node_id, __version__, inventory.docker_version, inventory.arch),
            reading(declared.ENGINE_UP, not self._engine_problem()),
            reading(declared.CONTAINERS, up, "up"),
            reading(declared.CONTAINERS, len(self._world.containers) - up, "ended"),
            reading(declared.LOG_SPOOL, self._logs.spool.held_bytes),
        ]
        if tunnels is not None:
            found += [
                reading(declared.TUNNEL_LINKS, tunnels.links),
                reading(declared.TUNNEL_STREAMS, tunnels.streams),
                reading(declared.TUNNEL_SENT, tunnels.traffic.sent_bytes),
                reading(declared.TUNNEL_RECEIVED, tunnels.traffic.received_bytes),
            ]
        return found
