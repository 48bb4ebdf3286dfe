"""What ingresses are told of a workload that others have links to.  Pure: rows in, a document out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lattice.contracts.messages import LinkDocument, RouteEndpoint, RunLink
from lattice.contracts.nouns import DesiredState, Health, Phase
from lattice.contracts.states import is_ready
from services.registry.route_documents import is_starting, waiting_for
from services.registry.tables import InstanceRow, LinkTargetRow, WorkloadRow


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkGround:
    """All that a document is made from: the workload of the name, if there is one, and those that have links to it; of instances only those
    whose node is a member, or that have none."""

    workload: WorkloadRow | None
    instances: Sequence[InstanceRow]
    linking: Sequence[InstanceRow]
    ports: Mapping[tuple[str, int], Collection[int]]
    """(workload, revision) of those that are `linking` -> the ports of the target that they have links to."""


def link_document(row: LinkTargetRow, ground: LinkGround, *, era: int, number: int) -> LinkDocument:
    """The document as it is now; only the ports that some link leads to are told."""
    clients = _clients(ground)
    wanted = {port for ports in clients.values() for port in ports}
    endpoints = tuple(_endpoints(ground.instances, wanted))
    reason = "" if endpoints else _reason(ground, wanted)
    return LinkDocument(
        link_id=row.id,
        project=row.project,
        workload_name=row.name,
        endpoints=endpoints,
        clients=clients,
        waiting_for=reason,
        is_starting=bool(reason)
        and ground.workload is not None
        and not _ready(ground.instances)
        and is_starting(ground.workload, ground.instances),
        era=era,
        number=number,
    )


def ports_to(target: str, run: Mapping[str, Any]) -> frozenset[int]:
    """The ports of the target to which a revision's RunSpec, as it is stored, has links."""
    links = [RunLink.model_validate(each) for each in run.get("links", ())]
    return frozenset(port.container_port for link in links if link.workload == target for port in link.ports)


def _clients(ground: LinkGround) -> dict[str, tuple[int, ...]]:
    """node -> the ports that instances there have links to."""
    found: dict[str, set[int]] = {}
    for each in ground.linking:
        ports = ground.ports.get((each.workload_id, each.revision), ())
        if each.node_id is not None and ports:
            found.setdefault(each.node_id, set()).update(ports)
    return {node: tuple(sorted(found[node])) for node in sorted(found)}


def _ready(instances: Iterable[InstanceRow]) -> list[InstanceRow]:
    """Those that are to run and do."""
    return [
        each
        for each in instances
        if each.desired == DesiredState.RUNNING
        and each.node_id is not None
        and is_ready(Phase(each.phase), Health(each.health))
    ]


def _endpoints(instances: Iterable[InstanceRow], ports: Collection[int]) -> list[RouteEndpoint]:
    found = [
        RouteEndpoint(instance_id=each.id, node_id=each.node_id or "", container_port=port["container_port"])
        for each in _ready(instances)
        for port in each.ports
        if port["container_port"] in ports
    ]
    return sorted(found, key=lambda each: (each.instance_id, each.container_port))


def _reason(ground: LinkGround, wanted: Collection[int]) -> str:
    """Why nobody answers, in words for whoever wrote the link; "" where nobody asks yet."""
    if ground.workload is None:
        return "it was removed"
    if not _ready(ground.instances):
        return waiting_for(ground.workload, ground.instances)
    if not wanted:
        return ""
    return f"it has no port {min(wanted)} any more: apply the spec with the link again"
