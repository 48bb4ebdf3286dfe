"""A workload as its next step depends on it, read from rows: what `lifecycle` and `rollout` are asked about, and what operations are told.

Nothing here loads or writes; `converging` does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from lattice.contracts.messages import RunSpec
from lattice.contracts.nouns import DesiredState, Health, Phase, RolloutState
from lattice.contracts.spec import WorkloadSpec
from lattice.contracts.states import serves
from services.registry import operations
from services.registry.displacement import Displaced, Displacement
from services.registry.displacing import Sights
from services.registry.lifecycle import Goal, Moves, Replica
from services.registry.operations import Convergence
from services.registry.rollout import Newcomer, goal_of, healthy_for
from services.registry.tables import InstanceRow, RevisionRow, RolloutRow, WorkloadRow


@dataclass(frozen=True)
class Standing:
    """A workload with all that its next step depends on, at one moment."""

    workload: WorkloadRow
    revision: RevisionRow
    instances: Sequence[InstanceRow]
    rollout: RolloutRow | None
    away: frozenset[str]
    sights: Sights
    # node id -> up to when what is known of its containers was seen
    seen_until: Mapping[str, datetime]
    now: datetime

    @cached_property
    def spec(self) -> WorkloadSpec:
        return WorkloadSpec.model_validate(self.revision.spec)

    @cached_property
    def run(self) -> RunSpec:
        return RunSpec.model_validate(self.revision.run)

    @property
    def goal(self) -> Goal:
        """How many of which revision, and how they take the place of others."""
        update, number = self.spec.update, self.revision.number
        return goal_of(replicas=self.workload.replicas, revision=number, update=update, run=self.run)

    @cached_property
    def displaced(self) -> dict[str, Displaced]:
        """Whether an instance has to leave its node, by instance id."""
        return {row.id: self._displaced(row) for row in self.instances}

    def _displaced(self, row: InstanceRow) -> Displaced:
        """What fails during an update is the update's to judge, and what is leaving is not tried anywhere."""
        found = self.sights.of(row, self.spec, self.now)
        settles_itself = self.rollout is not None or row.desired != DesiredState.RUNNING
        return Displaced() if settles_itself and found.how is Displacement.FAILING else found

    @cached_property
    def _is_replacing(self) -> bool:
        """Whether something new takes the place of what serves, or of a revision that has worked: then it has to prove itself."""
        moving = any(each.how is not Displacement.NONE for each in self.displaced.values())
        return self.rollout is not None or moving or self.workload.stable_revision != self.revision.number

    @property
    def replicas(self) -> list[Replica]:
        """The instances as `lifecycle` sees them."""
        return [self._replica(row) for row in self.instances]

    def _replica(self, row: InstanceRow) -> Replica:
        how = self.displaced[row.id].how
        return Replica(
            id=row.id,
            slot=row.slot,
            revision=row.revision,
            leaving=row.desired == DesiredState.REMOVED,
            ready=self.counts(row),
            node_away=row.node_id in self.away,
            displaced=how in (Displacement.DRAINED, Displacement.FAILING, Displacement.APART),
            lost=how is Displacement.LOST,
        )

    def counts(self, row: InstanceRow) -> bool:
        """Whether an instance serves, and has for long enough where that matters."""
        if row.node_id in self.away or not _serves(row):
            return False
        return row.proven or row.ended or not self._is_replacing or self._has_served(row)

    def _has_served(self, row: InstanceRow) -> bool:
        """Silence is no proof: while a node or the database cannot be heard, no time passes."""
        until = self.seen_until.get(row.node_id or "")
        return (
            row.ready_since is not None and until is not None and until - row.ready_since >= self._healthy_for
        )

    @property
    def _healthy_for(self) -> timedelta:
        return healthy_for(self.spec.update, self.run)

    @property
    def newly_proven(self) -> list[InstanceRow]:
        """The instances that have served long enough for the first time."""
        return [row for row in self.instances if not row.proven and self.counts(row)]

    @property
    def way_back(self) -> int | None:
        """The revision that the update goes back to if it fails."""
        return None if self.rollout is None else way_back(self.rollout, self.instances, self.away)

    @property
    def newcomers(self) -> list[Newcomer]:
        """The instances of the goal's revision as `rollout` sees them."""
        return [self._newcomer(row) for row in self.instances if self._is_new(row)]

    def _is_new(self, row: InstanceRow) -> bool:
        return row.revision == self.revision.number and row.desired == DesiredState.RUNNING

    def _newcomer(self, row: InstanceRow) -> Newcomer:
        seen = operations.watch(row, away=self.away)
        began = (row.unready_since or self.now) if row.proven else self._began(row) + self._healthy_for
        return Newcomer(
            slot=row.slot,
            waited_for_since=None if self.counts(row) else began + self._unseen(row),
            hopeless=seen.phase is Phase.FAILED and operations.is_hopeless(seen),
            reason=_how_it_ended(row) or seen.reason or seen.progress,
        )

    def _unseen(self, row: InstanceRow) -> timedelta:
        """How long nobody has seen whether what served still does: its patience does not run out meanwhile."""
        if row.proven or row.node_id in self.away or not _serves(row):
            return timedelta(0)
        return self.now - self.seen_until.get(row.node_id or "", self.now)

    def _began(self, row: InstanceRow) -> datetime:
        """Since when it could have become healthy."""
        return row.released_at or row.created_at

    def outcome(self, moves: Moves) -> Convergence:
        """What operations that wait for the goal are told."""
        waiting = next((row for row in self.instances if self._is_new(row) and not self.counts(row)), None)
        return Convergence(
            settled=moves.settled,
            state=RolloutState(self.rollout.state) if self.rollout else None,
            reason=self.rollout.reason if self.rollout else "",
            now=self._doing(waiting) if waiting else "",
        )

    def _doing(self, row: InstanceRow) -> str:
        if _serves(row):
            return f"watching it for {self._healthy_for.total_seconds():g} s"
        seen = operations.watch(row, away=self.away)
        return seen.progress or seen.reason


def _how_it_ended(row: InstanceRow) -> str:
    """Of an instance that ended and was started again: more to the point than that its check does not answer yet."""
    last = row.last_exit or {}
    return str(last.get("reason") or "") if row.restarts and last.get("instance_id") == row.id else ""


def way_back(rollout: RolloutRow, instances: Sequence[InstanceRow], away: Collection[str]) -> int | None:
    """What had worked when the update began, else an earlier revision that has come to serve since: it was only starting then."""
    if rollout.from_revision is not None:
        return rollout.from_revision
    serving = [
        row
        for row in instances
        if row.revision < rollout.to_revision
        and row.desired == DesiredState.RUNNING
        and row.node_id not in away
        and _serves(row)
    ]
    proven = [row.revision for row in serving if row.proven]
    return max(proven or [row.revision for row in serving if not row.restarts], default=None)


def _serves(row: InstanceRow) -> bool:
    return serves(Phase(row.phase), Health(row.health), ended=row.ended)
