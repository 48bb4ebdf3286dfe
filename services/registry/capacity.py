"""Whether a request can ever fit, judged at accept: pure.

A workload that waits for room is accepted and stays pending with its reasons.  One that asks for more than any node of its pools *has* is a
mistake, and is refused with the reason of each node.  Where there is no node yet, nobody knows: it is accepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lattice.contracts.nouns import Amounts
from lattice.contracts.quantities import format_size


@dataclass(frozen=True, slots=True)
class NodeSize:
    """What one node has in all."""

    name: str
    pool: str
    capacity: Amounts


def why_never(reserve: Amounts, pools: tuple[str, ...], nodes: Iterable[NodeSize]) -> tuple[str, ...]:
    """One sentence per node of the pools if none is large enough; empty if one is, or if there is none."""
    reasons = [(node, _lacks(reserve, node.capacity)) for node in nodes if node.pool in pools]
    if any(not lack for _, lack in reasons):
        return ()
    return tuple(f"{node.name} {lack}" for node, lack in reasons)


def _lacks(reserve: Amounts, capacity: Amounts) -> str:
    lacks = []
    if reserve.cpu_millis > capacity.cpu_millis:
        lacks.append(f"has {capacity.cpu_millis / 1000:g} cores, {reserve.cpu_millis / 1000:g} wanted")
    if reserve.memory_bytes > capacity.memory_bytes:
        lacks.append(
            f"has {format_size(capacity.memory_bytes)} of memory, {format_size(reserve.memory_bytes)} wanted"
        )
    if reserve.disk_bytes > capacity.disk_bytes:
        lacks.append(
            f"has {format_size(capacity.disk_bytes)} of disk, {format_size(reserve.disk_bytes)} wanted"
        )
    return "; ".join(lacks)
