"""How to reach a workload, with its secrets filled in; every reveal leaves an audit row."""

from __future__ import annotations

from collections.abc import Mapping

from lattice.contracts.environment_spec import CredentialKey
from lattice.contracts.messages import GetCredentials
from lattice.contracts.nouns import DesiredState, Phase, PortMapping
from lattice.contracts.views import CredentialsView
from lattice.errors import Conflict, NotFound
from lattice.storage import Transaction
from services.registry.access import access_to, parts, places_in
from services.registry.route_documents import route_view
from services.registry.tables import InstanceRow, RouteRow, WorkloadRow
from services.registry.workload_deps import WorkloadDeps
from services.registry.workload_rows import current_revision, find_workload


async def get_credentials(deps: WorkloadDeps, request: GetCredentials) -> CredentialsView:
    """The connection string and its parts.  Raises Conflict while the workload has no address yet."""
    async with deps.change(request.caller, action="credentials.reveal") as change:
        workload = await find_workload(change.tx, request.project, request.workload)
        revision = await current_revision(change.tx, workload)
        access = access_to(revision)
        if access is None:
            raise NotFound(f"workload {workload.name} has no port, so there is nothing to connect to")
        host, port = await _address(deps, change.tx, workload, access.port)
        places = await places_in(deps.vault, change.tx, revision, host=host, port=port)
        revealed = {"revealed": access.port}
        change.audit(
            "workload", workload.id, entity_name=workload.name, project=workload.project, after=revealed
        )
        return _view(deps, workload.name, parts(access, places), tls=bool((revision.access or {}).get("tls")))


async def _address(
    deps: WorkloadDeps, tx: Transaction, workload: WorkloadRow, port_name: str
) -> tuple[str, int]:
    """The public address of the port, which stays; else where it answers on its node now."""
    routes = await tx.find(RouteRow, workload_id=workload.id, port_name=port_name, released_at=None)
    public = route_view(routes[0], deps.places) if routes else None
    if public is not None and public.url:
        return public.host, public.port
    rows = await tx.find(InstanceRow, workload_id=workload.id, gone_at=None, desired=DesiredState.RUNNING)
    for row in rows:
        for port in row.ports:
            if row.phase == Phase.RUNNING and port["name"] == port_name:
                found = PortMapping.model_validate(port)
                return found.host_ip, found.host_port
    raise Conflict(
        f"workload {workload.name} has no address yet: no instance of it runs; see: lattice show {workload.name}"
    )


def _view(deps: WorkloadDeps, name: str, found: Mapping[CredentialKey, str], *, tls: bool) -> CredentialsView:
    return CredentialsView(
        workload=name,
        uri=found[CredentialKey.URI],
        host=found[CredentialKey.HOST],
        port=int(found[CredentialKey.PORT]),
        username=found[CredentialKey.USERNAME],
        password=found[CredentialKey.PASSWORD],
        database=found[CredentialKey.DATABASE],
        tls=tls,
        ca=deps.tls.authority.trust_pem.decode() if tls else "",
    )
