"""How to reach a workload, with its secrets filled in; every reveal leaves an audit row."""

from __future__ import annotations

from typing import Any

from lattice.contracts.messages import GetCredentials
from lattice.contracts.nouns import DesiredState, Phase, PortMapping
from lattice.contracts.views import CredentialsView
from lattice.errors import Conflict, NotFound
from lattice.storage import Transaction
from services.registry.tables import InstanceRow, SecretRow
from services.registry.template import Access, fill
from services.registry.workload_create import WorkloadDeps
from services.registry.workload_rows import current_revision, find_workload


async def get_credentials(deps: WorkloadDeps, request: GetCredentials) -> CredentialsView:
    """The connection string and its parts.  Raises Conflict while the workload has no address yet."""
    async with deps.change(request.caller, action="credentials.reveal") as change:
        workload = await find_workload(change.tx, request.project, request.workload)
        revision = await current_revision(change.tx, workload)
        if revision.access is None:
            raise NotFound(f"workload {workload.name} has no port, so there is nothing to connect to")
        access = Access.model_validate(revision.access["access"])
        port = await _address(change.tx, workload.id, workload.name, access.port)
        places = revision.access["places"] | await _secret_values(deps, change.tx, revision.access["secrets"])
        places |= {"host": port.host_ip, "port": str(port.host_port)}
        revealed = {"revealed": access.port}
        change.audit(
            "workload", workload.id, entity_name=workload.name, project=workload.project, after=revealed
        )
        return _view(deps, workload.name, access, places, port, tls=revision.access["tls"])


async def _address(tx: Transaction, workload_id: str, name: str, port_name: str) -> PortMapping:
    rows = await tx.find(InstanceRow, workload_id=workload_id, gone_at=None, desired=DesiredState.RUNNING)
    for row in rows:
        for port in row.ports:
            if row.phase == Phase.RUNNING and port["name"] == port_name:
                return PortMapping.model_validate(port)
    raise Conflict(f"workload {name} has no address yet: no instance of it runs; see: lattice show {name}")


async def _secret_values(deps: WorkloadDeps, tx: Transaction, ids: dict[str, str]) -> dict[str, str]:
    values = {}
    for name, secret_id in ids.items():
        secret = await tx.get(SecretRow, secret_id)
        if secret is None:
            raise NotFound(f"the secret {name} of this workload is gone")
        values[f"secrets.{name}"] = (await deps.vault.reveal(tx, secret, secret.current)).decode()
    return values


def _view(
    deps: WorkloadDeps, name: str, access: Access, places: dict[str, Any], port: PortMapping, *, tls: bool
) -> CredentialsView:
    return CredentialsView(
        workload=name,
        uri=fill(access.uri, places),
        host=port.host_ip,
        port=port.host_port,
        username=fill(access.username, places),
        password=fill(access.password, places),
        database=fill(access.database, places),
        tls=tls,
        ca=deps.tls.authority.trust_pem.decode() if tls else "",
    )
