"""What was heard from the nodes: heartbeats are kept in memory, and written to Postgres in bulk now and then.

Every replica hears all of them; they decide nothing by themselves.  `judging` looks at who was heard since its last tick.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lattice.contracts.messages import Heartbeat
from lattice.messaging import Received
from lattice.storage import In, Store
from services.registry.tables import NodePresenceRow


@dataclass(frozen=True, slots=True)
class Heard:
    """The newest heartbeat of a node, and when it came."""

    at: datetime
    heartbeat: Heartbeat


class Presence:
    """The newest heartbeat of each node."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._newest: dict[str, Heard] = {}
        self._since_tick: set[str] = set()
        self._unwritten: set[str] = set()

    @property
    def known(self) -> frozenset[str]:
        """The nodes that were heard at all."""
        return frozenset(self._newest)

    async def hear(self, received: Received[Heartbeat]) -> None:
        """Take a heartbeat.  The subject says whose it is: the bus lets a node use its own only."""
        heartbeat = received.message
        node_id = received.tokens["node_id"]
        known = self._newest.get(node_id)
        if heartbeat.node_id != node_id or (known and _is_clone(known.heartbeat, heartbeat)):
            return
        self._newest[node_id] = Heard(self._now(), heartbeat)
        self._since_tick.add(node_id)
        self._unwritten.add(node_id)

    def take_heard(self) -> frozenset[str]:
        """Who was heard since this was asked last."""
        heard, self._since_tick = frozenset(self._since_tick), set()
        return heard

    def newest(self, node_id: str) -> Heartbeat:
        """What a node that was heard said last."""
        return self._newest[node_id].heartbeat

    async def write(self, store: Store, members: Collection[str]) -> None:
        """Write what came since the last time, of members only; kept for the next time if the database is away."""
        node_ids, newest = self._unwritten & set(members), dict(self._newest)
        if not node_ids:
            return
        async with store.transaction() as tx:
            rows = {row.id: row for row in await tx.find(NodePresenceRow, id=In(tuple(sorted(node_ids))))}
            for node_id in sorted(node_ids):
                columns = _columns(newest[node_id])
                if node_id in rows:
                    tx.update(rows[node_id], **columns)
                else:
                    tx.add(NodePresenceRow(id=node_id, **columns))
        self._unwritten -= {node_id for node_id in node_ids if self._newest[node_id] is newest[node_id]}

    def keep_only(self, members: Collection[str]) -> None:
        """Forget who is no member: without it, the memory would grow with every node that ever was."""
        gone = self._newest.keys() - set(members)
        for node_id in gone:
            del self._newest[node_id]
        self._since_tick -= gone
        self._unwritten -= gone


def _is_clone(known: Heartbeat, found: Heartbeat) -> bool:
    """Another machine with the same identity does not keep a node alive (see `observed_order`)."""
    return found.boot_id != known.boot_id and found.session <= known.session


def _columns(heard: Heard) -> dict[str, Any]:
    return {"last_seen": heard.at, "usage": heard.heartbeat.usage.model_dump(mode="json")}
