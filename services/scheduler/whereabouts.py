"""Which workloads stand where: on a node, or on the nodes that share the value of a label.

A part of the fleet in which nodes count as one place is a domain: of `node` each node is one, of `label.zone` all nodes with the same zone.  A
node without the label is a domain of its own: nobody said that it shares anything with another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from lattice.contracts.messages import SchedulableNode


class Stands(Protocol):
    """A node and the instances on it, by workload."""

    @property
    def node(self) -> SchedulableNode:
        """What the registry said of it."""

    @property
    def instances(self) -> Mapping[str, int]:
        """workload_id -> how many of its instances are there."""


class Whereabouts:
    """Counts per workload and domain, made when they are first asked for: most batches ask for none."""

    def __init__(self, everybody: Iterable[Stands]) -> None:
        self._everybody = everybody
        self._counts: dict[tuple[str, str], Counter[str]] = {}

    def count(self, workload_id: str, topology: str, node: SchedulableNode) -> int:
        """How many instances of the workload are in the node's domain."""
        return self._by_domain(workload_id, topology)[domain_of(topology, node)]

    def anywhere(self, workload_id: str) -> int:
        """How many instances of the workload have a place."""
        return self._by_domain(workload_id, "node").total()

    def add(self, workload_id: str, node: SchedulableNode) -> None:
        """An instance of the workload is on this node from now on."""
        for (counted, topology), counts in self._counts.items():
            if counted == workload_id:
                counts[domain_of(topology, node)] += 1

    def _by_domain(self, workload_id: str, topology: str) -> Counter[str]:
        counts = self._counts.get((workload_id, topology))
        if counts is None:
            counts = Counter()
            for each in self._everybody:
                if found := each.instances.get(workload_id, 0):
                    counts[domain_of(topology, each.node)] += found
            self._counts[workload_id, topology] = counts
        return counts


def domain_of(topology: str, node: SchedulableNode) -> str:
    """Names the node's domain; no node id begins with `=`."""
    label = label_of(topology, node)
    return node.node_id if label is None else f"={label}"


def label_of(topology: str, node: SchedulableNode) -> str | None:
    """The node's value of the label that a topology goes by; None if it has none, or if the topology is `node`."""
    return node.labels.get(topology.removeprefix("label.")) if topology.startswith("label.") else None
