"""Reads what is wrong now: candidates by what is indexed, then the rules (`trouble_rules`) on each.

It is asked every few seconds, so it reads rows only of what may be wrong, and never the whole platform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from lattice import __version__
from lattice.contracts.messages import PLATFORM, ListTroubles, Trouble, TroubleKind, Troubles
from lattice.contracts.nouns import (
    DesiredState,
    JobRunState,
    Liveness,
    Membership,
    OperationState,
    Phase,
    RolloutState,
)
from lattice.storage import Gt, In, Lt, Not, Transaction
from services.registry.change import Deps
from services.registry.disk_watermark import DiskFull
from services.registry.node_deps import NodeDeps
from services.registry.observed_order import CLONE_SUSPECTED
from services.registry.tables import (
    ClusterRow,
    FactRow,
    InstanceRow,
    JobRunRow,
    NodeRow,
    OperationRow,
    RolloutRow,
    Row,
    WorkloadRow,
)
from services.registry.trouble_rules import (
    Expectations,
    InstanceSight,
    NodeSight,
    WorkloadSight,
    node_troubles,
    workload_troubles,
)
from services.registry.workload_views import NodeWord, displayed, node_words

# Certificates are renewed at two thirds of their life; one of which less than a sixth is left was not.
_LEFT_WITHOUT_RENEWAL = 6
R = TypeVar("R", bound=Row)


async def list_troubles(deps: NodeDeps, request: ListTroubles) -> Troubles:
    """Everything that is wrong now; complete, so what is not named is well."""
    left = timedelta(seconds=deps.settings.credential_ttl_s / _LEFT_WITHOUT_RENEWAL)
    expected = Expectations(renewed_before=left, version=__version__)
    return await troubles_now(deps.deps, expected, remembered_s=deps.settings.remembered_s)


async def troubles_now(deps: Deps, expected: Expectations, *, remembered_s: float) -> Troubles:
    """What is wrong at this moment, all of it read in one transaction; what happened counts for `remembered_s`."""
    now = deps.now()
    async with deps.store.transaction() as tx:
        nodes = await _suspect_nodes(tx, expected, now)
        found = [
            *(trouble for node in nodes for trouble in node_troubles(_node_sight(node), expected, now)),
            *await _of_platform(tx),
            *await _of_workloads(tx, nodes),
            *await _of_what_happened(tx, now - timedelta(seconds=remembered_s)),
        ]
    return Troubles(items=tuple(found))


async def _suspect_nodes(tx: Transaction, expected: Expectations, now: datetime) -> list[NodeRow]:
    """Those of which anything may be wrong: a row holds a whole desired document, so what is well is not read."""
    approved: dict[str, Any] = {"removed_at": None, "membership": Membership.APPROVED.value}
    found = [
        *await tx.find(NodeRow, removed_at=None, membership=Membership.PENDING.value),
        *await tx.find(NodeRow, liveness=Liveness.UNREACHABLE.value, **approved),
        *await tx.find(NodeRow, docker_problem=Not(""), **approved),
        *await tx.find(NodeRow, disk_low=True, **approved),
        *await tx.find(NodeRow, reason=Not(""), **approved),
        *await tx.find(NodeRow, certificate_expires_at=Lt(now + expected.renewed_before), **approved),
        *await tx.find(NodeRow, agent_version=Not(expected.version), **approved),
    ]
    return list({row.id: row for row in found}.values())


def _node_sight(row: NodeRow) -> NodeSight:
    return NodeSight(
        node_id=row.id,
        name=row.name,
        membership=Membership(row.membership),
        liveness=Liveness(row.liveness),
        reason=row.reason,
        fingerprint=row.fingerprint,
        created_at=row.created_at,
        lost_since=row.lost_since,
        engine_problem=row.docker_problem,
        disk_problem=DiskFull.read(row.disk_full).reason if row.disk_full else "",
        cloned=row.reason.startswith(CLONE_SUSPECTED),
        certificate_expires_at=row.certificate_expires_at,
        agent_version=row.agent_version,
    )


async def _of_platform(tx: Transaction) -> list[Trouble]:
    cluster = await tx.get(ClusterRow, 1)
    if cluster is None or cluster.moves_held_until is None:
        return []
    detail = f"no work is moved before {cluster.moves_held_until:%H:%M} UTC: `lattice node confirm-lost` moves it now"
    return [_about_platform(TroubleKind.MASS_NODE_LOSS, "platform", detail)]


def _about_platform(
    kind: TroubleKind, name: str, detail: str, *, since: datetime | None = None, mark: str = ""
) -> Trouble:
    return Trouble(
        kind=kind, project=PLATFORM, entity_id=name, entity_name=name, since=since, detail=detail, mark=mark
    )


# --- workloads ---------------------------------------------------------------------------------------------


async def _of_workloads(tx: Transaction, nodes: Sequence[NodeRow]) -> list[Trouble]:
    suspects = await _suspects(tx, [node.id for node in nodes if node.liveness == Liveness.UNREACHABLE])
    workloads = await _by_key(tx, WorkloadRow, suspects)
    instances = await tx.find(
        InstanceRow, workload_id=In(tuple(workloads)), gone_at=None, desired=DesiredState.RUNNING.value
    )
    ids = {instance.node_id for instance in instances if instance.node_id is not None}
    words = node_words(list((await _by_key(tx, NodeRow, ids)).values()))
    sights = [_workload_sight(row, instances, words) for row in workloads.values() if _is_wanted(row)]
    return [trouble for sight in sights for trouble in workload_troubles(sight)]


async def _suspects(tx: Transaction, unreachable: Sequence[str]) -> set[str]:
    """The workloads of which some instance may be ill: it fails, has failed, does not serve, has no place, or its node is away."""
    living: dict[str, Any] = {"gone_at": None, "desired": DesiredState.RUNNING.value}
    rows = [
        *await tx.find(InstanceRow, failing_since=Not(None), **living),
        *await tx.find(InstanceRow, phase=Phase.FAILED.value, **living),
        *await tx.find(InstanceRow, unready_since=Not(None), **living),
        *await tx.find(InstanceRow, node_id=None, **living),
    ]
    if unreachable:
        rows += await tx.find(InstanceRow, node_id=In(tuple(unreachable)), **living)
    return {row.workload_id for row in rows}


def _is_wanted(row: WorkloadRow) -> bool:
    return row.removed_at is None and row.desired == DesiredState.RUNNING


def _workload_sight(
    row: WorkloadRow, instances: Sequence[InstanceRow], nodes: Mapping[str, NodeWord]
) -> WorkloadSight:
    own = [instance for instance in instances if instance.workload_id == row.id]
    return WorkloadSight(
        workload_id=row.id,
        name=row.name,
        project=row.project,
        replicas=row.replicas,
        instances=[_instance_sight(instance, nodes) for instance in own],
    )


def _instance_sight(row: InstanceRow, nodes: Mapping[str, NodeWord]) -> InstanceSight:
    """An instance without a place is told of once the scheduler has looked for one."""
    decision = row.placement or {}
    unplaced = row.node_id is None and row.waits_on is None and bool(decision)
    node = nodes.get(row.node_id or "")
    return InstanceSight(
        state=displayed(row, nodes),
        reason=row.reason,
        node_name=node.name if node else "",
        failing_since=row.failing_since,
        unready_since=row.unready_since,
        unplaced_since=row.created_at if unplaced else None,
        unplaced_reason=decision.get("reason", ""),
    )


# --- what happened -----------------------------------------------------------------------------------------


async def _of_what_happened(tx: Transaction, since: datetime) -> list[Trouble]:
    return [
        *await _of_deploys(tx, since),
        *await _of_jobs(tx, since),
        *await _of_dead_letters(tx, since),
    ]


async def _of_deploys(tx: Transaction, since: datetime) -> list[Trouble]:
    """The newest operation of a workload failed; where it was an update that was rolled back, that is what is told."""
    failed = await tx.find(OperationRow, state=OperationState.FAILED.value, ended_at=Gt(since))
    workloads = await _by_key(tx, WorkloadRow, {row.subject_id for row in failed})
    ids = tuple(row.id for row in workloads.values() if row.removed_at is None)
    operations = _newest(await tx.find(OperationRow, subject_id=In(ids), order_by=("created_at", "id")))
    rollouts = await tx.find(RolloutRow, workload_id=In(ids), order_by=("started_at", "id"))
    newest_rollout = {row.workload_id: row for row in rollouts}
    troubles = []
    for workload_id, operation in operations.items():
        if operation.state != OperationState.FAILED:
            continue
        rollout = newest_rollout.get(workload_id)
        troubles.append(_failed_deploy(workloads[workload_id], operation, rollout))
    return troubles


def _newest(operations: Sequence[OperationRow]) -> dict[str, OperationRow]:
    return {row.subject_id: row for row in operations}


def _failed_deploy(workload: WorkloadRow, operation: OperationRow, rollout: RolloutRow | None) -> Trouble:
    went_back = (
        rollout is not None
        and rollout.operation_id == operation.id
        and rollout.state == RolloutState.ROLLED_BACK
    )
    kind = TroubleKind.UPDATE_ROLLED_BACK if went_back else TroubleKind.DEPLOY_FAILED
    detail = (operation.problem or {}).get("detail", "") or operation.progress
    sight = WorkloadSight(
        workload_id=workload.id, name=workload.name, project=workload.project, replicas=0, instances=()
    )
    return sight.trouble(kind, detail, operation.ended_at, mark=operation.id)


async def _of_jobs(tx: Transaction, since: datetime) -> list[Trouble]:
    """The newest run of a job that has ended failed."""
    failed = await tx.find(JobRunRow, state=JobRunState.FAILED.value, finished_at=Gt(since), duplicate=False)
    workloads = await _by_key(tx, WorkloadRow, {row.workload_id for row in failed})
    ids = tuple(row.id for row in workloads.values() if row.removed_at is None)
    ended = In((JobRunState.FAILED.value, JobRunState.SUCCEEDED.value))
    runs = await tx.find(
        JobRunRow, workload_id=In(ids), state=ended, duplicate=False, order_by=("finished_at", "id")
    )
    newest = {row.workload_id: row for row in runs}
    return [_failed_run(row) for row in newest.values() if row.state == JobRunState.FAILED]


def _failed_run(row: JobRunRow) -> Trouble:
    return Trouble(
        kind=TroubleKind.JOB_FAILED,
        project=row.project,
        entity_id=row.workload_id,
        entity_name=row.workload_name,
        since=row.finished_at,
        detail=row.reason or f"exit code {row.exit_code}",
        mark=row.id,
    )


async def _of_dead_letters(tx: Transaction, since: datetime) -> list[Trouble]:
    """One for each consumer that gave something up."""
    rows = await tx.find(
        FactRow, entity="dead_letter", created_at=Gt(since), order_by=("created_at", "id"), limit=1000
    )
    by_consumer: dict[str, list[FactRow]] = {}
    for row in rows:
        by_consumer.setdefault(row.entity_name, []).append(row)
    return [_dead_letters(name, letters) for name, letters in by_consumer.items()]


def _dead_letters(name: str, letters: Sequence[FactRow]) -> Trouble:
    newest = letters[-1]
    many = "a message was" if len(letters) == 1 else f"{len(letters)} messages were"
    detail = f"{many} given up in {name}; the newest: {newest.data.get('subject', '')} {newest.data.get('reason', '')}".rstrip()
    since = letters[0].created_at
    return _about_platform(TroubleKind.DEAD_LETTER, name, detail, since=since, mark=newest.id)


async def _by_key(tx: Transaction, table: type[R], keys: set[str]) -> dict[str, R]:
    """Rows by their id."""
    rows: list[Any] = await tx.find(table, id=In(tuple(sorted(keys)))) if keys else []
    return {row.id: row for row in rows}
