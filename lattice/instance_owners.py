"""Whose an instance is, of which a node sends log lines or measurements: the registry says it, not the node."""

from __future__ import annotations

from dataclasses import dataclass

from lattice.clock import Clock
from lattice.contracts.catalogue import KNOWN_INSTANCES
from lattice.contracts.messages import AGENT_LOG, PLATFORM, KnownInstances
from lattice.messaging import Bus

# A node that speaks of an instance it never had makes us ask no more often than this.
ASK_AGAIN_S = 5.0
# Whatever names it makes up, we remember no more of them.
_MOST_STRANGERS = 10_000


@dataclass(frozen=True, slots=True)
class Owner:
    """The workload of an instance."""

    project: str
    workload_id: str
    workload_name: str
    node_name: str = ""


class Owners:
    """The instances that each node has or had, as the registry told; an unknown one makes us ask again."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._known: dict[tuple[str, str], Owner] = {}
        self._node_names: dict[str, str] = {}
        self._asked_s: dict[tuple[str, str], float] = {}

    async def owner(self, node_id: str, instance_id: str) -> Owner | None:
        """The owner of an instance on a node; None if the registry knows of no such instance there.  Temporary if it is away."""
        key = (node_id, instance_id)
        if key not in self._known and self._may_ask(key):
            answer = await self._bus.ask(
                KNOWN_INSTANCES, KnownInstances(node_id=node_id, instance_id=instance_id)
            )
            self._known.update(
                ((node_id, known), Owner(*owner, answer.node_name))
                for known, owner in answer.instances.items()
            )
            if key not in self._known:
                self._note_stranger(key)
        return self._known.get(key)

    def known_owner(self, node_id: str, instance_id: str) -> Owner | None:
        """The same without asking."""
        return self._known.get((node_id, instance_id))

    def known_node_name(self, node_id: str) -> str:
        """A node's name where it was asked for before, else empty."""
        return self._node_names.get(node_id, "")

    async def of_agent(self, node_id: str) -> Owner:
        """The owner of what an agent says of itself: the platform; its subject vouches for it, since no workload's id looks like that."""
        return Owner(PLATFORM, AGENT_LOG, AGENT_LOG, await self.node_name(node_id))

    async def node_name(self, node_id: str) -> str:
        """A node's name; empty if the registry knows of no such node.  Temporary if it is away."""
        if not self._node_names.get(node_id):
            wanted = KnownInstances(node_id=node_id, instance_id=node_id)
            self._node_names[node_id] = (await self._bus.ask(KNOWN_INSTANCES, wanted)).node_name
        return self._node_names[node_id]

    def _note_stranger(self, key: tuple[str, str]) -> None:
        if len(self._asked_s) >= _MOST_STRANGERS:
            self._asked_s.clear()
        self._asked_s[key] = self._clock.monotonic_s()

    def _may_ask(self, key: tuple[str, str]) -> bool:
        asked_s = self._asked_s.get(key)
        if asked_s is None or self._clock.monotonic_s() - asked_s > ASK_AGAIN_S:
            self._asked_s.pop(key, None)
            return True
        return False
