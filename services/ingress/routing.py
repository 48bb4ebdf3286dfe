"""Which route a host name means, and which instance a request goes to.  Pure: the tables come in, a choice with its reason goes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lattice.contracts.messages import RouteDocument, RouteEndpoint
from lattice.contracts.spec import PortProtocol


@dataclass(frozen=True, slots=True)
class RouteTable:
    """The routes that exist, each in its newest document: those over HTTP and those over TLS by host label, those over TCP by port."""

    by_id: Mapping[str, RouteDocument] = field(default_factory=dict)
    by_host: Mapping[str, RouteDocument] = field(default_factory=dict)
    by_tls_name: Mapping[str, RouteDocument] = field(default_factory=dict)
    by_port: Mapping[int, RouteDocument] = field(default_factory=dict)
    by_domain: Mapping[tuple[PortProtocol, str], RouteDocument] = field(default_factory=dict)

    def with_document(self, document: RouteDocument) -> RouteTable:
        """The table after a document came; one that is not newer changes nothing."""
        known = self.by_id.get(document.route_id)
        if known is not None and known.order >= document.order:
            return self
        by_id = {**self.by_id, document.route_id: document}
        live = [each for each in by_id.values() if not each.released]
        return RouteTable(
            by_id,
            {each.host: each for each in live if each.protocol is PortProtocol.HTTP},
            {each.host: each for each in live if each.protocol is PortProtocol.TLS},
            {each.port: each for each in live if each.port is not None},
            {(each.protocol, name): each for each in live for name in each.domains},
        )

    def find(self, host: str, apps_domain: str) -> RouteDocument | None:
        """The route of a `Host` header: an exact name of ours or a domain that was proved, with or without a port."""
        name = host.partition(":")[0].rstrip(".").lower()
        return self.by_host.get(_label(name, apps_domain)) or self.by_domain.get((PortProtocol.HTTP, name))

    def find_tls(self, name: str, apps_domain: str) -> RouteDocument | None:
        """The route of a name that a TLS client asks for."""
        return self.by_tls_name.get(_label(name, apps_domain)) or self.by_domain.get((PortProtocol.TLS, name))


def _label(name: str, apps_domain: str) -> str:
    """The first label of a name directly below the domain; "" for any other."""
    label, dot, domain = name.partition(".")
    return label if dot and domain == apps_domain else ""


class Destination(Protocol):
    """What has instances behind it: a route, or a workload that others have links to."""

    @property
    def endpoints(self) -> tuple[RouteEndpoint, ...]:
        """Those that are ready."""

    @property
    def waiting_for(self) -> str:
        """Why there is none."""

    @property
    def is_starting(self) -> bool:
        """Whether there is about to be one."""


@dataclass(frozen=True, slots=True)
class Nowhere:
    """Why a request cannot go anywhere now; whether that is about to be over."""

    reason: str
    passing: bool = False


def choose(
    destination: Destination,
    reachable: frozenset[str],
    busy: Mapping[str, int],
    but: frozenset[str] = frozenset(),
) -> RouteEndpoint | Nowhere:
    """The endpoint with the fewest connections (`busy`, by instance) on a `reachable` node, of equals the first by id; no instance of `but`."""
    left = [each for each in destination.endpoints if each.instance_id not in but]
    if there := [each for each in left if each.node_id in reachable]:
        return min(there, key=lambda each: (busy.get(each.instance_id, 0), each.instance_id))
    if left:
        return Nowhere("its node is not connected to the ingress right now", passing=True)
    return Nowhere(destination.waiting_for or "no instance of it is ready", passing=destination.is_starting)
