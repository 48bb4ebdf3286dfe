"""What ingresses are told of a workload's public ports.  Pure: rows in, documents out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from lattice.contracts.messages import RouteDocument, RouteEndpoint, RouteGuard
from lattice.contracts.nouns import DesiredState, Health, Phase
from lattice.contracts.spec import PortProtocol, PortSpec
from lattice.contracts.states import is_ready
from lattice.contracts.views import DomainView, RouteView
from services.registry.domain_rules import DomainState, record_for
from services.registry.public_places import PublicPlaces
from services.registry.tables import DomainRow, InstanceRow, RouteRow, WorkloadRow


def host_of(workload: str, project: str, port: str, *, is_first: bool) -> str:
    """The first label of a public name: the first public port has the workload's own, others stand before it.  Names hold no `--`, so none is
    another's."""
    return f"{workload}--{project}" if is_first else f"{port}--{workload}--{project}"


def public_hosts(workload: str, project: str, ports: Sequence[PortSpec]) -> dict[str, PortSpec]:
    """host -> the port, of those that are public."""
    public = [port for port in ports if port.public]
    return {
        host_of(workload, project, port.name, is_first=number == 0): port
        for number, port in enumerate(public)
    }


def free_port(ports: Sequence[int], taken: Collection[int]) -> int | None:
    """The first of the ingresses' ports that no route has."""
    return next((port for port in ports if port not in taken), None)


def route_view(row: RouteRow, places: PublicPlaces, domains: Sequence[DomainRow] = ()) -> RouteView:
    """The route as people are told it, with its domains; without an address where the platform has no ingress."""
    url, host, port = _address(row, places)
    return RouteView(
        url=url,
        secure_url=_secure_url(row, places),
        host=host or row.host,
        port=port,
        protocol=row.protocol,
        workload=row.workload_name,
        public=True,
        plaintext=row.plaintext and row.port is not None,
        taken_down=row.taken_down,
        domains=tuple(_domain_view(domain, row, places) for domain in domains),
    )


def _domain_view(domain: DomainRow, row: RouteRow, places: PublicPlaces) -> DomainView:
    return DomainView(
        name=domain.name,
        verified=domain.state == DomainState.VERIFIED,
        reason=domain.reason,
        record=record_for(domain.name, places.name_of(row.host)),
        checked_at=domain.checked_at,
    )


def _address(row: RouteRow, places: PublicPlaces) -> tuple[str, str, int]:
    """(address, host, port); the first two are empty where the platform has no ingress."""
    if row.port is not None:
        host = places.tcp_host.replace("{host}", row.host)
        return (f"tcp://{host}:{row.port}" if host else ""), host, row.port
    template = places.tls_url if row.protocol == PortProtocol.TLS else places.apps_url
    url = template.replace("{host}", row.host)
    parts = urlsplit(url)
    port = parts.port or {"http": 80}.get(parts.scheme, 443)
    return (url, parts.hostname, port) if parts.hostname else ("", "", port)


def _secure_url(row: RouteRow, places: PublicPlaces) -> str:
    """The address over HTTPS beside one over HTTP.  Empty where there is none, or where people are told of HTTPS only."""
    is_shown = row.protocol == PortProtocol.HTTP and not places.apps_url.startswith("https:")
    return places.secure_apps_url.replace("{host}", row.host) if is_shown else ""


def route_document(
    row: RouteRow,
    workload: WorkloadRow,
    instances: Sequence[InstanceRow],
    *,
    domains: tuple[str, ...],
    era: int,
    number: int,
) -> RouteDocument:
    """The route as it is now, with the `domains` that are proved to lead there; of one that is released only its end."""
    released = row.released_at is not None
    endpoints = (
        () if released else tuple(sorted(_endpoints(row, instances), key=lambda each: each.instance_id))
    )
    return RouteDocument(
        route_id=row.id,
        project=row.project,
        workload_id=workload.id,
        workload_name=workload.name,
        port_name=row.port_name,
        protocol=PortProtocol(row.protocol),
        host=row.host,
        domains=() if released else domains,
        port=row.port,
        guard=None if row.guard is None else RouteGuard.model_validate(row.guard),
        taken_down=row.taken_down,
        endpoints=endpoints,
        waiting_for="" if endpoints or released else waiting_for(workload, instances),
        is_starting=not endpoints and not released and is_starting(workload, instances),
        released=released,
        era=era,
        number=number,
    )


def _endpoints(row: RouteRow, instances: Sequence[InstanceRow]) -> list[RouteEndpoint]:
    """Instances that are to run, are ready, and have the port."""
    return [
        RouteEndpoint(
            instance_id=instance.id, node_id=instance.node_id, container_port=port["container_port"]
        )
        for instance in instances
        if instance.desired == DesiredState.RUNNING
        and instance.node_id is not None
        and is_ready(Phase(instance.phase), Health(instance.health))
        for port in instance.ports
        if port["name"] == row.port_name
    ]


def waiting_for(workload: WorkloadRow, instances: Sequence[InstanceRow]) -> str:
    """In words for a visitor, who is told nothing about the inside."""
    if workload.desired == DesiredState.STOPPED:
        return "it is stopped"
    if any(row.phase == Phase.FAILED for row in instances):
        return "its last start failed"
    return "it is starting"


def is_starting(workload: WorkloadRow, instances: Sequence[InstanceRow]) -> bool:
    """Whether a visitor who waits a little has a chance."""
    wanted = workload.desired == DesiredState.RUNNING
    return wanted and any(row.phase != Phase.FAILED for row in instances)
