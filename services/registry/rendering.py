"""A node's desired document, rendered from rows: pure and deterministic, so that an unchanged document raises no generation.

Instances that must be gone stay in every document as tombstones until a newer observed document has shown them gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lattice.contracts.messages import (
    DesiredDocument,
    DesiredInstance,
    RunRequest,
    RunSpec,
    SealedValue,
    Tombstone,
)
from lattice.contracts.nouns import ContainerKey, DesiredState
from lattice.contracts.quantities import format_size
from lattice.errors import Invalid
from services.registry.tables import InstanceRow, RevisionRow

# The bus refuses messages over 1 MB; what a document may take at most, so that headers fit too.
MAX_DOCUMENT_BYTES = 768 * 1024
# What placement fills of it: tombstones and orders to remove volumes come on top, without being asked.
PLACEABLE_BYTES = MAX_DOCUMENT_BYTES - 64 * 1024
_KEY_BYTES = 512
_SEALED_SECRET_BYTES = 2048


@dataclass(frozen=True, slots=True)
class NodePlan:
    """All that a node's document is made from."""

    cluster_id: str
    era: int
    node_id: str
    instances: Sequence[InstanceRow]
    revisions: Mapping[tuple[str, int], RevisionRow]
    sealed: Sequence[SealedValue]
    remove_volumes: Sequence[str]
    requests: Mapping[str, tuple[RunRequest, ...]] = field(default_factory=dict)
    runs_known: int = 0
    pool: str = ""
    ingresses: tuple[str, ...] = ()


def key_of(row: InstanceRow) -> ContainerKey:
    """The name of the instance's container."""
    return ContainerKey(workload_id=row.workload_id, slot=row.slot, epoch=row.epoch)


def render(plan: NodePlan, generation: int) -> DesiredDocument:
    """The document, with its parts in a fixed order."""
    rows = sorted(plan.instances, key=lambda row: (row.workload_id, row.slot, row.epoch))
    return DesiredDocument(
        cluster_id=plan.cluster_id,
        node_id=plan.node_id,
        era=plan.era,
        generation=generation,
        instances=tuple(_desired(row, plan) for row in rows if _is_told(row)),
        tombstones=tuple(_tombstone(row) for row in rows if row.desired == DesiredState.REMOVED),
        secrets=tuple(sorted(plan.sealed, key=lambda value: (value.secret_id, value.version))),
        remove_volumes=tuple(sorted(plan.remove_volumes)),
        runs_known=plan.runs_known,
        pool=plan.pool,
        ingresses=plan.ingresses,
    )


def _is_told(row: InstanceRow) -> bool:
    """Whether the node is to have the instance: what waits for another workload has its place, and nothing else yet."""
    return row.desired != DesiredState.REMOVED and row.waits_on is None


def wanted_secrets(
    instances: Sequence[InstanceRow], revisions: Mapping[tuple[str, int], RevisionRow]
) -> list[tuple[str, int]]:
    """(secret id, version) of everything that the running instances of a node need, and nothing else."""
    wanted = {
        (secret_id, number)
        for row in instances
        if _is_told(row)
        for secret_id, number in revisions[row.workload_id, row.revision].secret_versions.items()
    }
    return sorted(wanted)


def content(document: DesiredDocument) -> dict[str, Any]:
    """What decides whether a document is a new one: everything but its generation."""
    return document.model_dump(mode="json", exclude={"generation"})


def share_bytes(run: RunSpec, secrets: int) -> int:
    """What an instance takes of its node's document, with so many secrets; those are not sealed yet and count with a usual size."""
    return len(run.model_dump_json()) + _KEY_BYTES + secrets * _SEALED_SECRET_BYTES


def check_size(document: DesiredDocument) -> None:
    """Invalid if the document is larger than a node may be sent."""
    size_bytes = len(document.model_dump_json())
    if size_bytes > MAX_DOCUMENT_BYTES:
        raise Invalid(
            f"what its {len(document.instances)} instances need takes {format_size(size_bytes)}, and a node's document holds "
            f"{format_size(MAX_DOCUMENT_BYTES)}: remove a workload with large files, or put the files into its image"
        )


def _desired(row: InstanceRow, plan: NodePlan) -> DesiredInstance:
    revision = plan.revisions[row.workload_id, row.revision]
    stopped = row.desired == DesiredState.STOPPED
    run = RunSpec.model_validate(revision.run)
    return DesiredInstance(
        key=key_of(row),
        instance_id=row.id,
        workload_name=row.workload_name,
        project=row.project,
        revision=row.revision,
        desired=DesiredState.STOPPED if stopped else DesiredState.RUNNING,
        run=run,
        since=row.created_at if run.job else None,
        run_requests=plan.requests.get(row.id, ()),
    )


def _tombstone(row: InstanceRow) -> Tombstone:
    return Tombstone(key=key_of(row), instance_id=row.id, project=row.project)
