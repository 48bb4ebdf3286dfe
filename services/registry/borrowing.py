"""Credentials of other workloads in an environment: `env: {DATABASE_URL: {from: orders-db, key: uri}}`.

They are looked up when a revision is made, and kept as secrets of the workload that has them: a node is sent them sealed, and a rollback has those of
its time.  The address is that of the link to the lender, if there is one; else the one inside a network that both are in: an app's own, where
they are services of one app; else the project's, which a service of an app joins for that.  A network ends at its node, so who borrows without a
link is placed beside who lends (`placement_wishes`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lattice.contracts.environment_spec import CredentialKey, CredentialRef
from lattice.contracts.messages import FileMount, RunLink, RunSpec
from lattice.contracts.spec import WorkloadSpec
from lattice.errors import FieldError, Invalid
from lattice.storage import Transaction
from services.registry import links
from services.registry.access import access_to, parts, places_in
from services.registry.change import Change
from services.registry.tables import RevisionRow, SecretRow, WorkloadRow
from services.registry.workload_deps import WorkloadDeps
from services.registry.workload_rows import current_revision

CA_FILE = "/run/lattice/ca.crt"


@dataclass(frozen=True, slots=True)
class _Lender:
    """A workload whose credentials are asked for, as it is now."""

    workload: WorkloadRow
    is_linked: bool
    uses_tls: bool
    parts: Mapping[CredentialKey, str]


async def borrow(
    deps: WorkloadDeps, change: Change, workload: WorkloadRow, spec: WorkloadSpec, run: RunSpec
) -> tuple[RunSpec, dict[str, int]]:
    """What to run with the credentials in it, and the versions of the secrets that they are.  Invalid names the variable that cannot be had."""
    lenders = await _lenders(deps, change.tx, workload, spec)
    secret_env, versions = dict(run.secret_env), {}
    for variable, value in _values(spec, lenders).items():
        row = await deps.vault.put(
            change,
            project=workload.project,
            owner=workload.id,
            name=_secret_name(variable),
            value=value.encode(),
        )
        secret_env[variable], versions[row.id] = row.id, row.current
    added = {
        "secret_env": secret_env,
        "joins": _joins(workload, lenders.values()),
        "files": (*run.files, *_ca_file(deps, run, lenders.values())),
    }
    for lender in lenders.values():
        used = {"used_by": workload.name}
        change.audit(
            "workload",
            lender.workload.id,
            entity_name=lender.workload.name,
            project=workload.project,
            after=used,
        )
    return run.model_copy(update=added), versions


async def has_changed(
    deps: WorkloadDeps, tx: Transaction, workload: WorkloadRow, spec: WorkloadSpec, revision: RevisionRow
) -> bool:
    """Whether any of the credentials is another one by now than when the revision was made; also where one cannot be had any more."""
    if not spec.lenders:
        return False
    try:
        values = _values(spec, await _lenders(deps, tx, workload, spec))
    except Invalid:
        return True  # said to whoever makes the next revision
    rows = {row.name: row for row in await tx.find(SecretRow, project=workload.project, owner=workload.id)}
    for variable, value in values.items():
        row = rows.get(_secret_name(variable))
        known = None if row is None else revision.secret_versions.get(row.id)
        if row is None or known is None or await deps.vault.reveal(tx, row, known) != value.encode():
            return True
    return False


async def _lenders(
    deps: WorkloadDeps, tx: Transaction, workload: WorkloadRow, spec: WorkloadSpec
) -> dict[str, _Lender]:
    """name -> the workload, of those whose credentials the spec asks for."""
    linked = _by_workload(await links.resolve(tx, workload.project, spec))
    lenders: dict[str, _Lender] = {}
    for variable, ref in sorted(spec.borrowed_env.items()):
        if ref.from_ not in lenders:
            lenders[ref.from_] = await _lender(deps, tx, workload, variable, ref, linked.get(ref.from_))
        if ref.key not in lenders[ref.from_].parts:
            raise _refused(variable, f"the credentials of {ref.from_} have no {ref.key}")
    return lenders


async def _lender(
    deps: WorkloadDeps,
    tx: Transaction,
    workload: WorkloadRow,
    variable: str,
    ref: CredentialRef,
    link: RunLink | None,
) -> _Lender:
    found = await tx.find(WorkloadRow, project=workload.project, name=ref.from_, removed_at=None)
    if not found:
        raise _refused(
            variable,
            f"there is no workload {ref.from_!r} in project {workload.project}; `lattice ps` shows all",
        )
    (row,) = found
    if link is None and row.app_id is not None and row.app_id != workload.app_id:
        raise _refused(
            variable,
            f"{row.name} belongs to app {row.app}, in whose network only its own services are; a link to it leads there",
        )
    revision = await current_revision(tx, row)
    access = access_to(revision)
    if access is None:
        raise _refused(variable, f"workload {row.name} has no port, so there is nothing to connect to")
    tls = bool((revision.access or {}).get("tls"))
    port = next(
        each.container_port for each in RunSpec.model_validate(revision.run).ports if each.name == access.port
    )
    host = row.service or row.name
    if link is not None:
        host, port = row.name, _port_inside(variable, link, port)
    places = await places_in(deps.vault, tx, revision, host=host, port=port, ca_file=CA_FILE if tls else "")
    ca = {CredentialKey.CA: deps.tls.authority.trust_pem.decode()} if tls else {}
    known = {key: value for key, value in parts(access, places).items() if value}
    return _Lender(row, link is not None, tls, known | ca)


def _by_workload(found: Iterable[RunLink]) -> dict[str, RunLink]:
    """One for each workload, with the ports of all links to it."""
    linked: dict[str, RunLink] = {}
    for link in found:
        seen = linked.get(link.workload)
        ports = link.ports if seen is None else (*seen.ports, *link.ports)
        linked[link.workload] = link.model_copy(update={"ports": ports})
    return linked


def _port_inside(variable: str, link: RunLink, port: int) -> int:
    """Under which number the lender's port answers through the link."""
    for each in link.ports:
        if each.container_port == port:
            return each.at
    raise _refused(variable, f"the link to {link.workload} does not lead to its port {port}")


def _refused(variable: str, detail: str) -> Invalid:
    return Invalid(
        f"env.{variable}: {detail}", errors=[FieldError(pointer=f"/env/{variable}", detail=detail)]
    )


def _values(spec: WorkloadSpec, lenders: Mapping[str, _Lender]) -> dict[str, str]:
    return {
        variable: lenders[ref.from_].parts[ref.key] for variable, ref in sorted(spec.borrowed_env.items())
    }


def _joins(workload: WorkloadRow, lenders: Iterable[_Lender]) -> tuple[str, ...]:
    """The project's network, for a service of an app that borrows from outside it."""
    leaves = any(lender.workload.app_id != workload.app_id and not lender.is_linked for lender in lenders)
    return (workload.project,) if leaves else ()


def _ca_file(deps: WorkloadDeps, run: RunSpec, lenders: Iterable[_Lender]) -> tuple[FileMount, ...]:
    """The platform's CA, for those who lend over TLS; where a template of its own has the file, it is the same."""
    if not any(lender.uses_tls for lender in lenders) or any(file.path == CA_FILE for file in run.files):
        return ()
    return (FileMount(path=CA_FILE, content=deps.tls.authority.trust_pem.decode()),)


def _secret_name(variable: str) -> str:
    return f"env:{variable}"
