"""A node while a batch is being placed: what the registry said of it, less what this batch has already put there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from lattice.contracts.messages import PlacementRequest, SchedulableNode
from lattice.contracts.nouns import Amounts
from services.scheduler.whereabouts import Whereabouts


class Room(NamedTuple):
    """Free resources of a node.  Not `Amounts`: ten thousand of them are made per batch, and these cost a fifth."""

    cpu_millis: int
    memory_bytes: int
    disk_bytes: int


@dataclass(slots=True, eq=False)
class Candidate:
    """A node and its free room.  Room only shrinks within a batch."""

    node: SchedulableNode
    free: Room
    document_free_bytes: int
    instances: Mapping[str, int]
    whereabouts: Whereabouts
    host_ports: Mapping[int, str]

    def conflicts(self, request: PlacementRequest) -> list[int]:
        """The fixed host ports of the request that an instance here has already."""
        return [port for port in request.host_ports if port in self.host_ports]

    def fits(self, need: Amounts) -> bool:
        """Whether there is room; in whole numbers, since a share is rounded."""
        return (
            _has(self.free.cpu_millis, need.cpu_millis)
            and _has(self.free.memory_bytes, need.memory_bytes)
            and _has(self.free.disk_bytes, need.disk_bytes)
        )

    def has_room_for(self, request: PlacementRequest) -> bool:
        """Whether its room and its document still take the instance, and its fixed host ports are free."""
        fits = self.fits(request.reserve) and request.document_bytes <= self.document_free_bytes
        return fits and not self.conflicts(request)

    def load_with(self, need: Amounts) -> float:
        """The fullest of its resources once `need` is there, 1 being full."""
        capacity, free = self.node.capacity, self.free
        return max(
            _share(capacity.cpu_millis, free.cpu_millis, need.cpu_millis),
            _share(capacity.memory_bytes, free.memory_bytes, need.memory_bytes),
            _share(capacity.disk_bytes, free.disk_bytes, need.disk_bytes),
        )

    def take(self, request: PlacementRequest) -> None:
        """Put an instance here."""
        need, workload_id = request.reserve, request.workload_id
        self.document_free_bytes -= request.document_bytes
        free = self.free
        self.free = Room(
            free.cpu_millis - need.cpu_millis,
            free.memory_bytes - need.memory_bytes,
            free.disk_bytes - need.disk_bytes,
        )
        if request.host_ports:
            self.host_ports = {
                **self.host_ports,
                **dict.fromkeys(request.host_ports, request.workload_name),
            }
        self.instances = {**self.instances, workload_id: self.instances.get(workload_id, 0) + 1}
        self.whereabouts.add(workload_id, self.node)


def candidates_of(nodes: Iterable[SchedulableNode]) -> dict[str, Candidate]:
    """Nodes as the registry described them, in the order of their ids; they know where instances stand on each other."""
    found: dict[str, Candidate] = {}
    whereabouts = Whereabouts(found.values())
    for node in sorted(nodes, key=lambda node: node.node_id):
        found[node.node_id] = _candidate(node, whereabouts)
    return found


def candidate(node: SchedulableNode) -> Candidate:
    """A node that knows of no other."""
    return candidates_of([node])[node.node_id]


def _candidate(node: SchedulableNode, whereabouts: Whereabouts) -> Candidate:
    capacity, reserved = node.capacity, node.reserved
    free = Room(
        capacity.cpu_millis - reserved.cpu_millis,
        capacity.memory_bytes - reserved.memory_bytes,
        capacity.disk_bytes - reserved.disk_bytes,
    )
    return Candidate(node, free, node.document_free_bytes, node.workloads, whereabouts, node.host_ports)


def _has(free: int, need: int) -> bool:
    """What is not needed is not counted: a node that is short of disk takes what writes nothing."""
    return need == 0 or need <= free


def _share(capacity: int, free: int, need: int) -> float:
    if need == 0:
        return 0.0
    return (capacity - free + need) / capacity if capacity > 0 else inf
