"""Whether a constraint such as `label.zone == home` is true of a node."""

from __future__ import annotations

from functools import lru_cache

from lattice.contracts.messages import SchedulableNode
from lattice.contracts.placement_spec import parse_constraint


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[str, bool, str]:
    key, operator, value = parse_constraint(text)
    return key, operator == "==", value


def holds(text: str, node: SchedulableNode) -> bool:
    """Whether a constraint is true of a node."""
    key, equal, value = _parsed(text)
    return (value in present(key, node)) is equal


def present(key: str, node: SchedulableNode) -> tuple[str, ...]:
    """The node's values of a constraint's key; a node is named by its name and by its id."""
    if key.startswith("label."):
        label = node.labels.get(key[len("label.") :])
        return () if label is None else (label,)
    if key == "node":
        return (node.name, node.node_id)
    value: str = getattr(node, key)  # arch, os, pool: `parse_constraint` lets nothing else through
    return (value,)
