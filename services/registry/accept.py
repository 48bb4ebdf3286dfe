"""Accepting a workload: from an expansion and a pinned image to rows, within the transaction of the request.

Order matters for what the user sees first: names and volumes are checked before anything is made, so a refusal leaves no trace.
"""

from __future__ import annotations

import secrets as random_source
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from lattice.contracts.messages import CreateWorkload, FileMount, JobOrder, RunPort, RunSpec, RunVolume
from lattice.contracts.nouns import DesiredState, VolumeState
from lattice.contracts.quantities import format_size
from lattice.contracts.spec import JobSpec, Kind, VolumeSpec, WorkloadSpec
from lattice.errors import Conflict, FieldError, Invalid
from lattice.pki import Authority, issue_workload, key_pem, new_private_key
from services.registry.change import Change
from services.registry.expansion import Expansion
from services.registry.image_pinning import PinnedImage
from services.registry.last_exits import inherited_exit
from services.registry.node_rows import holder_of
from services.registry.rendering import PLACEABLE_BYTES, share_bytes
from services.registry.tables import InstanceRow, RevisionRow, SecretRow, VolumeRow, WorkloadRow
from services.registry.vault import Vault

# Valid long enough that no running database loses TLS before its next revision; rotation re-issues it earlier.
LEAF_LIFETIME = timedelta(days=365)
_ALPHABET = string.ascii_letters + string.digits  # safe in URLs, YAML and shells alike


@dataclass(frozen=True, slots=True)
class TlsIssuer:
    """Signs the leaf with which a template's service serves TLS."""

    authority: Authority
    apps_domain: str = "apps.localhost"


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of a workload: name -> row, and the values that files are filled with."""

    rows: dict[str, SecretRow]
    values: dict[str, str]


async def claim_volumes(
    change: Change, request: CreateWorkload, wanted: Sequence[VolumeSpec], workload_id: str
) -> list[VolumeRow]:
    """The volumes of a workload's new revision: its own, new ones, or released ones that the request adopts."""
    rows = []
    for spec in wanted:
        name = f"{request.spec.name}-{spec.name}"
        known = await change.tx.find(
            VolumeRow, project=request.project, name=name, slot=0, removed_at=None, lock=True
        )
        if known and known[0].workload_id == workload_id and not known[0].removing:
            rows.append(change.tx.update(known[0], size_bytes=spec.size))
        elif known:
            await _must_be_there(change, known[0])
            rows.append(_adopt(change, known[0], workload_id, adopt=request.adopt))
        else:
            rows.append(_new_volume(change, request, name, spec, workload_id))
    return rows


async def _must_be_there(change: Change, volume: VolumeRow) -> None:
    """Conflict for a volume whose node was removed from the platform: its data cannot be had from here any more."""
    if volume.node_id is not None and await holder_of(change.tx, volume) is None:
        raise Conflict(
            f"volume {volume.name} was on a node that was removed; choose another name, or give the data up: "
            f"lattice volume rm {volume.name}"
        )


def _adopt(change: Change, volume: VolumeRow, workload_id: str, *, adopt: bool) -> VolumeRow:
    if volume.state != VolumeState.RELEASED or volume.removing:
        raise Conflict(
            f"volume {volume.name} is {'being removed' if volume.removing else 'in use'}; choose another name"
        )
    if not adopt:
        raise Conflict(
            f"volume {volume.name} with the data of an earlier workload is still there. Deploy with --adopt to go on with that data "
            f"and its credentials, or remove it first: lattice volume rm {volume.name}",
            data={"volume": volume.name, "choices": ["adopt", "remove"]},
        )
    change.fact("volume", "adopted", entity_id=volume.id, entity_name=volume.name, project=volume.project)
    return change.tx.update(volume, state=VolumeState.BOUND, workload_id=workload_id)


def _new_volume(
    change: Change, request: CreateWorkload, name: str, spec: VolumeSpec, workload_id: str
) -> VolumeRow:
    return change.tx.add(
        VolumeRow(
            id=change.new_id("vo"),
            project=request.project,
            name=name,
            slot=0,
            workload_id=workload_id,
            created_by_workload=request.spec.name,
            size_bytes=spec.size,
            state=VolumeState.BOUND,
            created_at=change.now,
        )
    )


async def make_secrets(
    change: Change,
    vault: Vault,
    expansion: Expansion,
    *,
    project: str,
    workload_id: str,
    volumes: Sequence[VolumeRow],
) -> Secrets:
    """Generate what the template asks for; what an adopted volume already has is kept."""
    owner = volumes[0].id if volumes else workload_id
    kept = {row.name: row for row in await change.tx.find(SecretRow, project=project, owner=owner)}
    rows, values = {}, {}
    for name, length in expansion.generated.items():
        if name in kept:
            value = (await vault.reveal(change.tx, kept[name], kept[name].current)).decode()
            rows[name] = kept[name]
        else:
            value = "".join(random_source.choice(_ALPHABET) for _ in range(length))
            rows[name] = vault.add(change, project=project, owner=owner, name=name, value=value.encode())
        values[f"secrets.{name}"] = value
    return Secrets(rows, values)


def make_tls(
    issuer: TlsIssuer, change: Change, spec: WorkloadSpec, project: str, workload_id: str
) -> dict[str, str]:
    """A key and a leaf under the platform's CA, as places for the template's files."""
    key = new_private_key()
    leaf = issue_workload(
        issuer.authority,
        key.public_key(),
        workload_id,
        now=change.now,
        lifetime=LEAF_LIFETIME,
        dns_names=("localhost", spec.name, f"{spec.name}--{project}.{issuer.apps_domain}"),
        ip_addresses=("127.0.0.1", "::1"),
    )
    return {
        "tls.key": key_pem(key).decode(),
        "tls.certificate": issuer.authority.chain_pem(leaf).decode(),
        "tls.ca": issuer.authority.trust_pem.decode(),
    }


async def find_secret_refs(change: Change, project: str, refs: Mapping[str, str]) -> dict[str, SecretRow]:
    """The project's secrets that a spec names: place in the spec -> row; Invalid names the first that is missing."""
    found = {}
    for place, name in refs.items():
        rows = await change.tx.find(SecretRow, project=project, owner="", name=name)
        if not rows:
            detail = f"project {project} has no secret {name!r}; make it with: lattice secret set {name}"
            raise Invalid(detail, errors=[FieldError(pointer=place, detail=detail)])
        found[place] = rows[0]
    return found


async def mount_files(
    change: Change,
    vault: Vault,
    expansion: Expansion,
    places: Mapping[str, str],
    *,
    project: str,
    workload_id: str,
) -> tuple[list[FileMount], dict[str, int]]:
    """The files of the container, and the versions of the secrets that some of them are."""
    mounts, versions = [], {}
    for file in expansion.files:
        content, secret_id = file.text(places), None
        if file.is_secret:
            row = await vault.put(
                change, project=project, owner=workload_id, name=f"file:{file.path}", value=content.encode()
            )
            secret_id, versions[row.id] = row.id, row.current
        mounts.append(
            FileMount(
                path=file.path,
                content=None if secret_id else content,
                secret=secret_id,
                mode=file.mode,
                uid=file.uid,
                gid=file.gid,
            )
        )
    return mounts, versions


def run_spec(
    spec: WorkloadSpec,
    expansion: Expansion,
    image: PinnedImage,
    files: Sequence[FileMount],
    volumes: Sequence[VolumeRow],
    refs: Mapping[str, SecretRow],
    workload: WorkloadRow,
) -> RunSpec:
    """Everything that an agent may turn into a container."""
    by_name = {row.name: row for row in volumes}
    pull_secret = refs.get("/pull_secret")
    return RunSpec(
        image=image.reference,
        image_id=image.image_id,
        pull=spec.pull,
        pull_secret=pull_secret.id if pull_secret else None,
        command=expansion.command,
        entrypoint=expansion.entrypoint,
        network=workload.app_id,
        aliases=(workload.service,) if workload.service else (),
        env=expansion.env,
        secret_env={name: refs[f"/secrets/{name}"].id for name in expansion.secret_refs},
        files=tuple(files),
        ports=tuple(
            RunPort(
                name=port.name, container_port=port.port, protocol=port.protocol, host_port=port.host_port
            )
            for port in expansion.ports
        ),
        volumes=tuple(
            RunVolume(
                volume_id=by_name[f"{spec.name}-{volume.name}"].id,
                name=volume.name,
                path=volume.path,
                size_bytes=volume.size,
            )
            for volume in expansion.volumes
        ),
        cpu_millis=expansion.resources.cpu,
        memory_bytes=expansion.resources.memory,
        pids=expansion.resources.pids,
        health=expansion.health,
        liveness=expansion.liveness,
        restart=spec.restart.policy,
        backoff=spec.restart.backoff,
        stop_timeout_s=expansion.stop_timeout_s,
        job=job_order(spec),
    )


def job_order(spec: WorkloadSpec) -> JobOrder | None:
    """What makes a workload's instance a job; None for a service."""
    if spec.kind is not Kind.JOB:
        return None
    limits = spec.job or JobSpec()
    return JobOrder(schedule=spec.schedule, deadline_s=limits.deadline, retries=limits.retries)


def check_size(run: RunSpec, secrets: int) -> None:
    """Invalid if one instance alone would fill the desired document of its node."""
    size_bytes = share_bytes(run, secrets)
    if size_bytes > PLACEABLE_BYTES:
        raise Invalid(
            f"the workload takes {format_size(size_bytes)} of its node's document, which holds {format_size(PLACEABLE_BYTES)}; "
            "put large files into the image or a volume",
            errors=[FieldError(pointer="", detail=f"at most {format_size(PLACEABLE_BYTES)} in all")],
        )


def volumes_of(run: RunSpec) -> list[VolumeSpec]:
    """The volumes of a revision as they were asked for."""
    return [VolumeSpec(name=volume.name, path=volume.path, size=volume.size_bytes) for volume in run.volumes]


def access_of(expansion: Expansion, secrets: Secrets) -> dict[str, object] | None:
    """How to reach the workload, with secrets still as references: values stay in the vault."""
    if expansion.access is None:
        return None
    return {
        "access": expansion.access.model_dump(),
        "places": expansion.places,
        "secrets": {name: row.id for name, row in secrets.rows.items()},
        "tls": expansion.uses_tls,
    }


def new_instances(
    change: Change,
    workload: WorkloadRow,
    revision: RevisionRow,
    *,
    slots: Sequence[int],
    before: Mapping[int, InstanceRow],
) -> list[InstanceRow]:
    """One instance per slot, waiting for a place; `before` are the newest so far, by slot.

    Where the spec depends on other workloads they wait for these too, until `releasing.look` lets them go on.
    """
    run = RunSpec.model_validate(revision.run)
    first = min(revision.spec.get("depends_on") or (), default=None)
    return [
        change.tx.add(
            InstanceRow(
                id=change.new_id("in"),
                workload_id=workload.id,
                workload_name=workload.name,
                project=workload.project,
                slot=slot,
                epoch=before[slot].epoch + 1 if slot in before else 1,
                revision=revision.number,
                last_exit=inherited_exit(before.get(slot)),
                desired=DesiredState.RUNNING,
                cpu_millis=run.cpu_millis,
                memory_bytes=run.memory_bytes,
                disk_bytes=sum(volume.size_bytes for volume in run.volumes),
                document_bytes=share_bytes(run, len(revision.secret_versions)),
                host_ports=list(run.host_ports),
                has_volume=bool(run.volumes),
                waits_on=first,
                waits_for=f"waiting for {first}" if first else "",
                unready_since=change.now,
                created_at=change.now,
            )
        )
        for slot in slots
    ]
