"""What waits for a place, as the scheduler is told: what it needs, and the rules about where it may be.

A rule names a workload of the same project; here the name becomes an id.  Who keeps apart from others counts for these, too: the scheduler gets such
a rule turned round with the request that it concerns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lattice.contracts.messages import PlacementRequest, PlacementRule
from lattice.contracts.nouns import Amounts
from lattice.contracts.placement_spec import AffinityRule, PlacementSpec
from lattice.contracts.spec import WorkloadSpec
from lattice.storage import In, Not, Transaction
from services.registry.app_places import homes_of
from services.registry.rescheduling import avoided
from services.registry.tables import InstanceRow, RevisionRow, VolumeRow, WorkloadRow


@dataclass(frozen=True, slots=True)
class _Neighbour:
    """A workload that keeps apart from others, and its rules."""

    workload: WorkloadRow
    placement: PlacementSpec


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What rules of one project may speak of: ids by name, and the workloads that keep apart."""

    ids: Mapping[str, str]
    apps: Mapping[str, str | None]
    apart: Sequence[_Neighbour]

    def rules(self, rules: Iterable[AffinityRule]) -> tuple[PlacementRule, ...]:
        """The rules with the ids of those they name."""
        return tuple(
            PlacementRule(
                workload_name=rule.workload,
                workload_id=self.ids.get(rule.workload),
                topology=rule.topology,
                weight=rule.weight,
            )
            for rule in rules
        )

    def beside_lenders(self, workload: WorkloadRow, spec: WorkloadSpec) -> tuple[PlacementRule, ...]:
        """Who has the credentials of others reaches them on its own node only, unless it has a link; an app is on one node anyway."""
        outside = [
            name
            for name in sorted(spec.lenders - spec.linked)
            if not workload.app_id or self.apps.get(name) != workload.app_id
        ]
        return self.rules(AffinityRule(workload=name) for name in outside)

    def kept_apart_from(self, name: str) -> tuple[PlacementRule, ...]:
        """The required rules of others that name this workload."""
        return tuple(
            PlacementRule(
                workload_name=other.workload.name,
                workload_id=other.workload.id,
                topology=rule.topology,
                is_theirs=True,
            )
            for other in self.apart
            for rule in other.placement.anti_affinity
            if rule.weight is None and rule.workload == name != other.workload.name
        )


@dataclass(frozen=True, slots=True)
class Around:
    """What else matters to one instance: its neighbours by rule, the node of its app, and those where the workload is failing."""

    neighbours: Neighbours
    app_home: str | None = None
    failing_on: frozenset[str] = frozenset()


async def neighbours(tx: Transaction, project: str, specs: Iterable[WorkloadSpec]) -> Neighbours:
    """What the rules of these specs, all of one project, need to know of others."""
    named: set[str] = set()
    for spec in specs:
        rules = (*spec.placement.affinity, *spec.placement.anti_affinity)
        named |= spec.lenders | {rule.workload for rule in rules}
    found = (
        await tx.find(WorkloadRow, project=project, name=In(tuple(sorted(named))), removed_at=None)
        if named
        else []
    )
    apart = await tx.find(WorkloadRow, project=project, keeps_apart=True, removed_at=None)
    ids = tuple(f"{row.id}-{row.revision}" for row in apart)
    revisions = {row.workload_id: row for row in await tx.find(RevisionRow, id=In(ids))} if ids else {}
    return Neighbours(
        ids={row.name: row.id for row in found},
        apps={row.name: row.app_id for row in found},
        apart=[
            _Neighbour(row, PlacementSpec.model_validate(revisions[row.id].spec.get("placement", {})))
            for row in apart
            if row.id in revisions
        ],
    )


async def placement_requests(tx: Transaction, wanted: Sequence[InstanceRow]) -> list[PlacementRequest]:
    """What these instances ask of the scheduler."""
    if not wanted:
        return []
    workloads = await tx.find(WorkloadRow, id=In(tuple({row.workload_id for row in wanted})))
    revision_ids = tuple({f"{row.workload_id}-{row.revision}" for row in wanted})
    revisions = {row.id: row for row in await tx.find(RevisionRow, id=In(revision_ids))}
    specs = {row.id: WorkloadSpec.model_validate(row.spec) for row in revisions.values()}
    volumes = await tx.find(VolumeRow, workload_id=In(tuple(row.id for row in workloads)), removed_at=None)
    homes = {row.workload_id: row.node_id for row in volumes if row.node_id}
    by_id = {row.id: row for row in workloads}
    near = {
        project: await neighbours(
            tx, project, (specs[_revision_id(row)] for row in wanted if row.project == project)
        )
        for project in sorted({row.project for row in wanted})
    }
    app_homes = await homes_of(tx, {row.app_id for row in workloads if row.app_id})
    failing = await _failing_on(tx, wanted)
    return [
        placement_request(
            row,
            by_id[row.workload_id],
            revisions[_revision_id(row)],
            specs[_revision_id(row)],
            homes.get(row.workload_id),
            Around(
                near[row.project],
                app_home=app_homes.get(by_id[row.workload_id].app_id or ""),
                failing_on=failing.get(row.workload_id, frozenset()),
            ),
        )
        for row in wanted
    ]


def _revision_id(row: InstanceRow) -> str:
    return f"{row.workload_id}-{row.revision}"


async def _failing_on(tx: Transaction, wanted: Sequence[InstanceRow]) -> dict[str, frozenset[str]]:
    """workload id -> the nodes where an instance is that was given up and is still there."""
    ids = tuple(sorted({row.workload_id for row in wanted if row.avoid}))
    rows = await tx.find(InstanceRow, workload_id=In(ids), gone_at=None, given_up=Not("")) if ids else []
    return {
        workload_id: frozenset(row.node_id for row in rows if row.workload_id == workload_id and row.node_id)
        for workload_id in ids
    }


def _where(
    workload: WorkloadRow, revision: RevisionRow, home: str | None, app_home: str | None
) -> tuple[Sequence[str] | None, str]:
    """The nodes that can be meant at all, None for any, and why."""
    if home is not None:
        return [home], "its volume is there"
    if app_home is None:
        return revision.only_nodes, revision.image_reason
    if revision.only_nodes is None or app_home in revision.only_nodes:
        return [app_home], f"the rest of app {workload.app} is there"
    return [], f"the rest of app {workload.app} is elsewhere, and {revision.image_reason}"


def placement_request(
    row: InstanceRow,
    workload: WorkloadRow,
    revision: RevisionRow,
    spec: WorkloadSpec,
    home: str | None,
    around: Around,
) -> PlacementRequest:
    """What one instance asks; `home` is the node that has its volume, if there is one."""
    only, reason = _where(workload, revision, home, around.app_home)
    joins = workload.app_id is not None and around.app_home is None
    placement, near = spec.placement, around.neighbours
    return PlacementRequest(
        instance_id=row.id,
        workload_id=row.workload_id,
        workload_name=row.workload_name,
        project=row.project,
        slot=row.slot,
        workload_generation=workload.generation,
        reserve=Amounts(cpu_millis=row.cpu_millis, memory_bytes=row.memory_bytes, disk_bytes=row.disk_bytes),
        document_bytes=row.document_bytes,
        pools=placement.pools,
        constraints=placement.constraints,
        only_nodes=None if only is None else tuple(only),
        only_nodes_reason="" if only is None else reason,
        image_id=revision.run.get("image_id"),
        image=revision.image,
        host_ports=tuple(row.host_ports),
        spread=placement.spread,
        strategy=placement.strategy,
        preferred=placement.preferred,
        affinity=(*near.rules(placement.affinity), *near.beside_lenders(workload, spec)),
        anti_affinity=(*near.rules(placement.anti_affinity), *near.kept_apart_from(spec.name)),
        group=workload.app_id or "" if joins else "",
        group_name=f"app {workload.app}" if joins else "",
        avoid=avoided(row.avoid, around.failing_on, asked_before=row.placement is not None),
    )
