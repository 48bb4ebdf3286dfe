"""Routes as the ingress is told them, and what is said when a connection goes through a tunnel."""

from __future__ import annotations

from pydantic import Field

from lattice.contracts.nouns import Id, Name, Noun, Said
from lattice.contracts.spec import PortProtocol


class RouteEndpoint(Noun):
    """An instance that serves a route."""

    instance_id: Id
    node_id: Id
    container_port: int = Field(ge=1, le=65535)


class RouteGuard(Noun):
    """What an ingress asks of visitors.  `credentials` are argon2id hashes of whole `Authorization` headers, any of which is right."""

    allow: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    asks_people: bool = Field(False, description="whether a browser is to ask for user and password")
    rate: str | None = None
    max_body_bytes: int | None = None


class RouteDocument(Noun):
    """A public name or port and the instances behind it.  Newer by `order`; one that is `released` leads nowhere any more."""

    route_id: Id
    project: Name
    workload_id: Id
    workload_name: Name
    port_name: Name
    protocol: PortProtocol
    host: str = Field(description="the first label of the name: `web--default`, `admin--web--default`")
    domains: tuple[str, ...] = Field(
        (), description="names of somebody's own that lead here as well, proved by DNS"
    )
    port: int | None = Field(None, description="where the ingress listens for it, if it is not http")
    guard: RouteGuard | None = None
    taken_down: Said = Field("", description="why the platform's operators let nobody in")
    endpoints: tuple[RouteEndpoint, ...] = ()
    waiting_for: Said = Field("", description="why there is no endpoint, in words for a visitor")
    is_starting: bool = Field(
        False, description="whether there is about to be one: a visitor may wait a little"
    )
    released: bool = False
    era: int
    number: int = Field(description="counts the documents of the route")

    @property
    def order(self) -> tuple[int, int]:
        """Which of two documents of a route is the newer."""
        return (self.era, self.number)


class TunnelHello(Noun):
    """The first words of an agent on each connection: a higher session takes over from all before."""

    boot_id: str = Field(max_length=64)
    session: int = Field(ge=0)


class TunnelCall(Noun):
    """What one of our own services asks of an ingress that it dials: a stream to a port of an instance, on whichever node."""

    node_id: Id
    instance_id: Id
    container_port: int = Field(ge=1, le=65535)

    @property
    def target(self) -> TunnelTarget:
        """What the node is asked then."""
        return TunnelTarget(instance_id=self.instance_id, container_port=self.container_port)


class TunnelTarget(Noun):
    """Where a stream is to lead: a port of an instance on the node that is asked."""

    instance_id: Id
    container_port: int = Field(ge=1, le=65535)
