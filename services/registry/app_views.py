"""Apps as REST answers them: their workloads in short."""

from __future__ import annotations

from collections.abc import Sequence

from lattice.contracts.nouns import DesiredState, InstanceState, WorkloadState
from lattice.contracts.states import app_state
from lattice.contracts.views import AppServiceView, AppView, WorkloadView
from services.registry.tables import AppRow


def app_view(row: AppRow, workloads: Sequence[WorkloadView]) -> AppView:
    """An app with its services by name."""
    services = tuple(_service(view) for view in sorted(workloads, key=lambda view: view.service or ""))
    state = app_state(DesiredState(row.desired), [view.state for view in workloads])
    return AppView(
        id=row.id,
        name=row.name,
        project=row.project,
        state=state,
        reason=_reason(state, services),
        services=services,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
    )


def _reason(state: WorkloadState, services: Sequence[AppServiceView]) -> str:
    """What the first service says that is in the same state."""
    if state is WorkloadState.RUNNING:
        return ""
    said = (f"{each.service}: {each.reason}" for each in services if each.reason and each.state is state)
    return next(said, "")


def _service(view: WorkloadView) -> AppServiceView:
    return AppServiceView(
        service=view.service or view.name,
        workload=view.name,
        state=view.state,
        reason=view.reason,
        ready=sum(each.state is InstanceState.RUNNING for each in view.instances),
        replicas=view.spec.replicas,
        image=view.image,
        nodes=tuple(sorted({each.node for each in view.instances if each.node})),
        routes=view.routes,
    )
