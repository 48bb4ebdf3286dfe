"""Which route a host name means, and which instance a request goes to.  Pure: the tables come in, a choice with its reason goes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from lattice.contracts.messages import RouteDocument, RouteEndpoint
from lattice.contracts.spec import PortProtocol

Named = tuple[PortProtocol, str]


@dataclass(frozen=True, slots=True)
class RouteTable:
    """The routes that exist, each in its newest document; and the ids of those that lead somewhere, by the first label of their name, by domain
    of somebody's own, and by port.

    Most documents say only that instances came or went: then names are kept as they are, and 10,000 of them cost a change nothing.
    """

    by_id: Mapping[str, RouteDocument] = field(default_factory=dict)
    by_label: Mapping[Named, str] = field(default_factory=dict)
    by_domain: Mapping[Named, str] = field(default_factory=dict)
    by_port: Mapping[int, str] = field(default_factory=dict)

    def with_documents(self, documents: Iterable[RouteDocument]) -> RouteTable:
        """The table after these came; those that are not newer change nothing."""
        by_id, renamed = dict(self.by_id), False
        for document in documents:
            known = by_id.get(document.route_id)
            if known is None or known.order < document.order:
                by_id[document.route_id] = document
                renamed = renamed or known is None or _names(known) != _names(document)
        if not renamed:
            return replace(self, by_id=by_id)
        live = [each for each in by_id.values() if not each.released]
        return RouteTable(
            by_id,
            {(each.protocol, each.host): each.route_id for each in live if each.port is None},
            {(each.protocol, name): each.route_id for each in live for name in each.domains},
            {each.port: each.route_id for each in live if each.port is not None},
        )

    def find(self, host: str, apps_domain: str) -> RouteDocument | None:
        """The route of a `Host` header: an exact name of ours or a domain that was proved, with or without a port."""
        name = host.partition(":")[0].rstrip(".").lower()
        return self._named(PortProtocol.HTTP, name, apps_domain)

    def find_tls(self, name: str, apps_domain: str) -> RouteDocument | None:
        """The route of a name that a TLS client asks for."""
        return self._named(PortProtocol.TLS, name, apps_domain)

    def at_port(self, port: int) -> RouteDocument | None:
        """The route that has a port of the ingress."""
        return self.by_id.get(self.by_port.get(port, ""))

    def _named(self, protocol: PortProtocol, name: str, apps_domain: str) -> RouteDocument | None:
        of_ours = self.by_label.get((protocol, _label(name, apps_domain)))
        return self.by_id.get(of_ours or self.by_domain.get((protocol, name), ""))


def _names(document: RouteDocument) -> tuple[object, ...]:
    """All by which a route is found."""
    return (document.released, document.protocol, document.host, document.domains, document.port)


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
