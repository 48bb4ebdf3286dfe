"""What ingresses are told of a workload that others have links to.  Pure: rows in, a document out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lattice.contracts.messages import LinkDocument, RouteEndpoint, RunSpec
from lattice.contracts.nouns import DesiredState, Health, Phase
from lattice.contracts.states import is_ready
from services.registry.route_documents import is_starting, waiting_for
from services.registry.tables import InstanceRow, LinkTargetRow, RevisionRow, WorkloadRow


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkGround:
    """All that a document is made from: the workload of the name, if there is one, and those that have links to it."""

    workload: WorkloadRow | None
    instances: Sequence[InstanceRow]
    linking: Sequence[InstanceRow]
    revisions: Mapping[tuple[str, int], RevisionRow]
    """Of the instances that are `linking`, by workload and number."""


def link_document(row: LinkTargetRow, ground: LinkGround, *, era: int, number: int) -> LinkDocument:
    """The document as it is now; only the ports that some link leads to are told."""
    clients = [(each, _ports(each, row.name, ground.revisions)) for each in ground.linking]
    wanted = {port for _, ports in clients for port in ports}
    endpoints = tuple(_endpoints(ground.instances, wanted))
    workload, told = ground.workload, ground.workload is not None and not endpoints
    return LinkDocument(
        link_id=row.id,
        project=row.project,
        workload_name=row.name,
        endpoints=endpoints,
        clients=tuple(sorted({each.node_id for each, ports in clients if ports and each.node_id})),
        waiting_for=_waiting_for(workload, ground.instances) if not endpoints else "",
        is_starting=told and workload is not None and is_starting(workload, ground.instances),
        era=era,
        number=number,
    )


def _ports(
    instance: InstanceRow, target: str, revisions: Mapping[tuple[str, int], RevisionRow]
) -> Collection[int]:
    """The ports of the target to which this instance has a link; none while it has no place."""
    revision = revisions.get((instance.workload_id, instance.revision))
    if revision is None or instance.node_id is None:
        return ()
    links = RunSpec.model_validate(revision.run).links
    return {port.container_port for link in links if link.workload == target for port in link.ports}


def _endpoints(instances: Iterable[InstanceRow], ports: Collection[int]) -> list[RouteEndpoint]:
    """Those of instances that are to run and are ready."""
    found = [
        RouteEndpoint(instance_id=each.id, node_id=each.node_id, container_port=port["container_port"])
        for each in instances
        if each.desired == DesiredState.RUNNING
        and each.node_id is not None
        and is_ready(Phase(each.phase), Health(each.health))
        for port in each.ports
        if port["container_port"] in ports
    ]
    return sorted(found, key=lambda each: (each.instance_id, each.container_port))


def _waiting_for(workload: WorkloadRow | None, instances: Sequence[InstanceRow]) -> str:
    return "it was removed" if workload is None else waiting_for(workload, instances)
