"""Rows of a workload as REST answers them.  The displayed words come from `contracts.states` only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lattice.contracts.nouns import (
    DesiredState,
    Health,
    InstanceState,
    LastExit,
    Liveness,
    Phase,
    PortMapping,
    RolloutState,
    VolumeState,
    WorkloadState,
)
from lattice.contracts.spec import UpdateOrder, WorkloadSpec
from lattice.contracts.states import instance_state, reachability, workload_state
from lattice.contracts.views import (
    InstanceView,
    LinkView,
    PlacementView,
    RejectedNodeView,
    RevisionView,
    RolloutView,
    RouteView,
    VolumeView,
    WorkloadView,
)
from services.registry.tables import InstanceRow, NodeRow, RevisionRow, RolloutRow, VolumeRow, WorkloadRow


@dataclass(frozen=True, slots=True)
class NodeWord:
    """What an instance's display needs of its node."""

    name: str
    liveness: Liveness


def node_words(nodes: Sequence[NodeRow]) -> dict[str, NodeWord]:
    """node id -> its name and liveness."""
    return {node.id: NodeWord(node.name, Liveness(node.liveness)) for node in nodes}


def displayed(row: InstanceRow, nodes: Mapping[str, NodeWord]) -> InstanceState:
    """The one word for an instance."""
    node = nodes.get(row.node_id or "")
    liveness = node.liveness if node else Liveness.READY
    phase = Phase(row.phase)
    if row.desired == DesiredState.RUNNING and phase is Phase.STOPPED and not row.ended:
        phase = Phase.PENDING  # it was stopped and is wanted again
    if row.desired == DesiredState.REMOVED and phase not in (Phase.STOPPED, Phase.FAILED):
        phase = Phase.STOPPING
    return instance_state(phase, Health(row.health), reachability(liveness, has_volume=row.has_volume))


def instance_view(row: InstanceRow, nodes: Mapping[str, NodeWord]) -> InstanceView:
    """One instance."""
    node = nodes.get(row.node_id or "")
    state = displayed(row, nodes)
    waits = (row.placement or {}).get("reason", "") if row.node_id is None else ""
    away = f"node {node.name} cannot be reached" if node and state in _AWAY else ""
    if state is InstanceState.STOPPING and node and node.liveness is Liveness.UNREACHABLE:
        away = "node away: it will be removed when the node returns"
    return InstanceView(
        id=row.id,
        slot=row.slot,
        epoch=row.epoch,
        node=node.name if node else None,
        node_id=row.node_id,
        state=state,
        health=Health(row.health),
        reason=away or row.reason or waits or row.waits_for,
        progress=row.progress,
        revision=row.revision,
        ports=tuple(PortMapping.model_validate(port) for port in row.ports),
        started_at=row.started_at,
        restarts=row.restarts,
        exit_code=row.exit_code,
        oom_killed=row.oom_killed,
        last_log=tuple(row.last_log),
        last_exit=_last_exit(row, nodes),
    )


def _last_exit(row: InstanceRow, nodes: Mapping[str, NodeWord]) -> LastExit | None:
    if row.last_exit is None:
        return None
    last = LastExit.model_validate(row.last_exit)
    node_id = last.node or row.node_id or ""
    name = nodes[node_id].name if node_id in nodes else node_id
    log = last.log if last.node else last.log or tuple(row.last_log)
    return last.model_copy(update={"node": name, "log": log})


_PLACES_LEFT_SHOWN = 3
_AWAY = (InstanceState.LOST, InstanceState.HELD)


def placement_view(row: InstanceRow, nodes: Mapping[str, NodeWord]) -> PlacementView:
    """Why an instance is where it is."""
    decision = row.placement or {}
    node = nodes.get(row.node_id or "")
    return PlacementView(
        instance=row.id,
        slot=row.slot,
        node=node.name if node else None,
        reason=_why_here(row, decision.get("reason", "the scheduler has not looked at it yet")),
        rejected=tuple(
            RejectedNodeView(node=item["node_name"], filter=item["filter"], reason=item["reason"])
            for item in decision.get("rejected", [])
        ),
        decided_at=decision.get("decided_at"),
    )


def _why_here(row: InstanceRow, reason: str) -> str:
    """The scheduler's reason; and why there had to be another place, if it kept failing elsewhere."""
    failed = sorted(set(row.avoid.values()))[:_PLACES_LEFT_SHOWN]
    return f"{reason}; before that {'; '.join(failed)}" if failed else reason


def workload_view(
    row: WorkloadRow,
    revision: RevisionRow,
    instances: Sequence[InstanceRow],
    nodes: Mapping[str, NodeWord],
    rollout: RolloutRow | None = None,
    routes: Sequence[RouteView] = (),
    links: tuple[LinkView, ...] = (),
) -> WorkloadView:
    """A workload with its instances that are not gone, by slot; `routes` are its public ones."""
    shown = sorted((i for i in instances if i.gone_at is None), key=lambda i: (i.slot, i.epoch))
    current = [i for i in shown if i.desired != DesiredState.REMOVED]
    state = workload_state(DesiredState(row.desired), row.replicas, [displayed(i, nodes) for i in current])
    views = tuple(instance_view(instance, nodes) for instance in shown)
    return WorkloadView(
        id=row.id,
        name=row.name,
        project=row.project,
        app=row.app,
        service=row.service,
        state=state,
        reason=_reason(state, views),
        desired_state=DesiredState(row.desired),
        revision=row.revision,
        spec=WorkloadSpec.model_validate(revision.spec),
        image=revision.image,
        instances=views,
        routes=(
            *routes,
            *(route for view in views for route in _routes(row.name, view)),
        ),
        links=links,
        placement=tuple(placement_view(instance, nodes) for instance in current),
        rollout=None if rollout is None else rollout_view(rollout),
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
    )


def _reason(state: WorkloadState, instances: Sequence[InstanceView]) -> str:
    if state is WorkloadState.RUNNING:
        return next((view.reason for view in instances if view.reason), "")
    return next((view.reason or view.progress for view in instances if view.reason or view.progress), "")


def _routes(workload: str, view: InstanceView) -> list[RouteView]:
    """Where the instance's ports answer on its node."""
    if view.state is not InstanceState.RUNNING:
        return []
    return [
        RouteView(
            url=f"{'http' if port.protocol == 'http' else 'tcp'}://{port.host_ip}:{port.host_port}",
            host=port.host_ip,
            port=port.host_port,
            protocol=port.protocol,
            workload=workload,
        )
        for port in view.ports
    ]


def rollout_view(row: RolloutRow) -> RolloutView:
    """One update."""
    return RolloutView(
        state=RolloutState(row.state),
        from_revision=row.from_revision,
        to_revision=row.to_revision,
        order=UpdateOrder(row.update_order),
        reason=row.reason or row.order_reason,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def revision_view(row: RevisionRow, *, current: bool, rollout: RolloutRow | None) -> RevisionView:
    """One revision, and what became of it."""
    return RevisionView(
        number=row.number,
        current=current,
        rollout=None if rollout is None else rollout_view(rollout),
        spec=WorkloadSpec.model_validate(row.spec),
        image=row.image,
        created_at=row.created_at,
        created_by=row.created_by,
    )


def volume_view(
    row: VolumeRow, nodes: Mapping[str, NodeWord], workloads: Mapping[str, str], *, has_credentials: bool
) -> VolumeView:
    """One volume; `workloads` are names by id."""
    node = nodes.get(row.node_id or "")
    away = node is not None and node.liveness is Liveness.UNREACHABLE
    state = VolumeState(row.state)
    state = VolumeState.HELD if away and state is VolumeState.BOUND else state
    return VolumeView(
        id=row.id,
        project=row.project,
        name=row.name,
        slot=row.slot,
        state=state,
        reason=_volume_reason(row, state, node.name if node else ""),
        workload=workloads.get(row.workload_id or ""),
        created_by_workload=row.created_by_workload,
        node=node.name if node else None,
        size_bytes=row.size_bytes,
        has_credentials=has_credentials,
        created_at=row.created_at,
    )


def _volume_reason(row: VolumeRow, state: VolumeState, node: str) -> str:
    if row.removing:
        return "it is being removed; on a node that is away this happens when the node returns"
    if state is VolumeState.HELD:
        return f"node {node} cannot be reached: the data is there, and is never started empty elsewhere"
    if state is VolumeState.RELEASED:
        maker = row.created_by_workload
        return f"{maker} is gone and its data is kept: deploy {maker} again with --adopt, or remove it: lattice volume rm {row.name}"
    return "" if row.node_id else "it is made where its workload first runs"
