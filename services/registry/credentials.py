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
from services.registry.tables import InstanceRow
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
        port = await _address(change.tx, workload.id, workload.name, access.port)
        places = await places_in(deps.vault, change.tx, revision, host=port.host_ip, port=port.host_port)
        revealed = {"revealed": access.port}
        change.audit(
            "workload", workload.id, entity_name=workload.name, project=workload.project, after=revealed
        )
        return _view(
            deps, workload.name, parts(access, places), port, tls=bool((revision.access or {}).get("tls"))
        )


async def _address(tx: Transaction, workload_id: str, name: str, port_name: str) -> PortMapping:
    rows = await tx.find(InstanceRow, workload_id=workload_id, gone_at=None, desired=DesiredState.RUNNING)
    for row in rows:
        for port in row.ports:
            if row.phase == Phase.RUNNING and port["name"] == port_name:
                return PortMapping.model_validate(port)
    raise Conflict(f"workload {name} has no address yet: no instance of it runs; see: lattice show {name}")


def _view(
    deps: WorkloadDeps, name: str, found: Mapping[CredentialKey, str], port: PortMapping, *, tls: bool
) -> CredentialsView:
    return CredentialsView(
        workload=name,
        uri=found[CredentialKey.URI],
        host=port.host_ip,
        port=port.host_port,
        username=found[CredentialKey.USERNAME],
        password=found[CredentialKey.PASSWORD],
        database=found[CredentialKey.DATABASE],
        tls=tls,
        ca=deps.tls.authority.trust_pem.decode() if tls else "",
    )
