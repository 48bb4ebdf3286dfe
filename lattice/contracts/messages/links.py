"""Links as the ingress is told them, and what a node asks of it for a connection through one."""

from __future__ import annotations

from pydantic import Field

from lattice.contracts.messages.routes import RouteEndpoint
from lattice.contracts.nouns import Id, Name, Noun, Said


class LinkDocument(Noun):
    """A workload that others have links to: its instances that are ready, and the nodes that may ask for them.  Newer by `order`."""

    link_id: Id
    project: Name
    workload_name: Name = Field(
        description="whatever workload has this name; a link is kept when it is made anew"
    )
    endpoints: tuple[RouteEndpoint, ...] = Field((), description="one for each port of each instance")
    clients: dict[Id, tuple[int, ...]] = Field(
        {}, description="node -> the ports of it that instances there have links to"
    )
    waiting_for: Said = Field("", description="why there is no endpoint, in words for whoever wrote the link")
    is_starting: bool = Field(
        False, description="whether there is about to be one: who asks may wait a little"
    )
    era: int
    number: int = Field(description="counts the documents of the link")

    @property
    def order(self) -> tuple[int, int]:
        """Which of two documents of a link is the newer."""
        return (self.era, self.number)


class LinkCall(Noun):
    """What a node asks of an ingress: a stream to a port of a workload that one of its instances has a link to."""

    instance_id: Id = Field(description="who asks")
    project: Name
    workload_name: Name
    container_port: int = Field(ge=1, le=65535)
