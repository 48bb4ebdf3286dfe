"""The links that a container was made with, as its label says them.  Pure.

Whatever is wanted of its workload by now, and whoever has started the agent since: the container knows the names that it was given, and calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from pydantic import ValidationError

from agent.naming import INSTANCE, LINKS, PROJECT
from lattice.contracts.messages import LinkCall, RunLink
from lattice.contracts.nouns import Noun


class Linked(Noun):
    """Where the names lead: `address` is the node's own in the container's network."""

    address: str
    links: tuple[RunLink, ...]


def link_label(address: str, links: tuple[RunLink, ...]) -> dict[str, str]:
    """The label of a container with these links; none without."""
    return {LINKS: Linked(address=address, links=links).model_dump_json()} if links else {}


def linked(labels: Mapping[str, str]) -> Linked | None:
    """What the label says; None without one that can be read."""
    return _read(labels[LINKS]) if LINKS in labels else None


def call_of(labels: Mapping[str, str], at: int) -> LinkCall | None:
    """What a container asks for by connecting to this number; None where no link of it has that."""
    made = linked(labels)
    for link in made.links if made else ():
        for port in link.ports:
            if port.at == at:
                return LinkCall(
                    instance_id=labels[INSTANCE],
                    project=labels[PROJECT],
                    workload_name=link.workload,
                    container_port=port.container_port,
                )
    return None


@lru_cache(maxsize=1024)
def _read(text: str) -> Linked | None:
    try:
        return Linked.model_validate_json(text)
    except ValidationError:
        return None
