"""Whose live lines these are: of one project, or of some of its workloads, and really of the node that sends them.

The log store takes lines only from the node that has the instance; of live ones the same is asked here, because a node may speak on any
workload's subject under its own name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from loguru import logger

from lattice.clock import Clock
from lattice.contracts import catalogue
from lattice.contracts.messages import AGENT_LOG, PLATFORM_NODE, GetByName, LogBlock
from lattice.contracts.views import InstanceView, WorkloadView
from lattice.errors import LatticeError, NotFound
from lattice.messaging import Bus, Received

# A node that sends lines of an instance it does not have makes us ask no more often than this, for each workload.
ASK_AGAIN_S = 1.0


class Whose(NamedTuple):
    """The workload, or the part of the platform, that wrote a block, and its node by name."""

    workload_id: str
    workload_name: str
    node: str


class PartOwners:
    """For who reads what the platform says of itself: the subject vouches for the part."""

    async def find(self, received: Received[LogBlock]) -> Whose | None:
        """The part that wrote a block; None for one of a workload."""
        block, tokens = received.message, received.tokens
        part, node_id = tokens.get("service", AGENT_LOG), tokens.get("node_id", PLATFORM_NODE)
        return Whose(part, part, node_id) if (block.workload_id, block.node_id) == (part, node_id) else None

    def may_be_ours(self, _block: LogBlock) -> bool:
        return False


class LogOwners:
    """The workloads of a reader, as far as lines of theirs were heard."""

    def __init__(self, bus: Bus, clock: Clock, project: str | None, known: Iterable[WorkloadView]) -> None:
        self._bus, self._clock, self._project = bus, clock, project
        self._workloads = {workload.id: workload for workload in known}
        self._asked_s: dict[str, float] = {}
        self._foreign: set[str] = set()

    async def find(self, received: Received[LogBlock]) -> Whose | None:
        """The workload of a block and its node; None for a block that is not for this reader, or not of its node."""
        block, tokens = received.message, received.tokens
        if (block.workload_id, block.node_id) != (tokens["workload_id"], tokens["node_id"]):
            return None
        found = self._known(block)
        if found is None and self._may_ask(block.workload_id):
            await self._learn(block)
            found = self._known(block)
        return found

    def may_be_ours(self, block: LogBlock) -> bool:
        """Whether a block that `find` did not know may still be for this reader: nobody could be asked, or not again so soon."""
        return block.workload_id not in self._foreign

    def _known(self, block: LogBlock) -> Whose | None:
        workload = self._workloads.get(block.workload_id)
        item = _instance(workload, block) if workload else None
        return Whose(workload.id, workload.name, item.node or block.node_id) if workload and item else None

    def _may_ask(self, workload_id: str) -> bool:
        now_s = self._clock.monotonic_s()
        if now_s - self._asked_s.get(workload_id, float("-inf")) < ASK_AGAIN_S:
            return False
        self._asked_s[workload_id] = now_s
        return True

    async def _learn(self, block: LogBlock) -> None:
        wanted = GetByName(ref=block.workload_id, project=self._project or block.project)
        try:
            self._workloads[block.workload_id] = await self._bus.ask(catalogue.GET_WORKLOAD, wanted)
        except NotFound:
            self._foreign.add(block.workload_id)
        except LatticeError as error:
            logger.warning("whose lines these are could not be asked: {}", error)


def _instance(workload: WorkloadView, block: LogBlock) -> InstanceView | None:
    items = workload.instances
    return next(
        (each for each in items if (each.id, each.node_id) == (block.instance_id, block.node_id)), None
    )
