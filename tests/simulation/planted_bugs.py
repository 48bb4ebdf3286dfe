"""Bugs of the kind that such systems have had, to be patched into the production code one at a time: the simulation must find each.

Each takes away one rule that a promise rests on; what its test sees broken is that promise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import agent.executor
import agent.journal
import agent.reconcile
import services.registry.converging as converging
import services.registry.folding as folding
import services.registry.following as following
import services.registry.handlers as handlers
import services.registry.observed_order as observed_order
import services.registry.placement_wishes as placement_wishes
import services.registry.scheduling as scheduling
import services.registry.workloads as workloads
import services.scheduler.candidate as candidate
import services.scheduler.filters as filters
import services.scheduler.leadership as leadership
import services.scheduler.rounds as rounds
from agent.facts import accepts, learn
from lattice.contracts import catalogue as c
from lattice.contracts.messages import DesiredDocument, SchedulingQuery
from lattice.contracts.nouns import ContainerKey, RolloutState
from services.registry.rollout import Verdict, judge

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


def unknown_is_deleted(patch: Patch) -> None:
    """A container that no document speaks of is removed."""
    plan_slot = agent.reconcile.plan_slot

    def planned(view: Any, *rest: Any, **named: Any) -> Any:
        if view.instance is None and not view.tombstones:
            steps = agent.reconcile._remove_all(view, upto=10**9, reason="nobody knows it")
            return agent.reconcile.SlotPlan(slot=view.slot, steps=steps)
        return plan_slot(view, *rest, **named)

    patch.setattr(agent.reconcile, "plan_slot", planned)
    patch.setattr(agent.executor, "plan_slot", planned)


def absence_is_a_delete(patch: Patch) -> None:
    """What a complete report does not name is taken for gone, ordered or not."""
    patch.setattr(folding, "is_proven_gone", lambda row, document, shown: _key(row) not in shown)


def tombstone_dropped_early(patch: Patch) -> None:
    """Any report ends a tombstone, also one from before the order."""
    patch.setattr(folding, "is_proven_gone", lambda row, document, shown: row.desired == "removed")


def _key(row: Any) -> ContainerKey:
    return ContainerKey(workload_id=row.workload_id, slot=row.slot, epoch=row.epoch)


def older_orders_accepted(patch: Patch) -> None:
    """An agent takes whatever document comes last."""
    patch.setattr(agent.journal, "accepts", lambda known, offered: True)


def older_reports_believed(patch: Patch) -> None:
    """The registry takes whatever a node's report says, in whatever order they come."""
    order = observed_order.order

    def in_any_order(known: Any, found: Any) -> observed_order.Order:
        how = order(known, found)
        return observed_order.Order.NEWER if how is observed_order.Order.OLD else how

    patch.setattr(observed_order, "order", in_any_order)


def removal_looked_at_twice(patch: Patch) -> None:
    """Whether a removal is over and whether its operation is are two looks, with room for a report in between."""

    async def no_lock(change: Any, workload_id: str) -> None:
        return None

    patch.setattr(following, "lock_instances", no_lock)


def acts_before_it_journals(patch: Patch) -> None:
    """An agent writes orders down only when the next ones come: a crash takes it back by one."""

    async def accept(self: Any, document: DesiredDocument) -> bool:
        if not accepts(self.document, document):
            return False
        if self.document is not None:
            agent.journal._write(self._folder / agent.journal.DOCUMENT, self.document)
        self.document, self.facts = document, learn(self.facts, document)
        return True

    patch.setattr(agent.journal.Journal, "accept", accept)


def epoch_given_twice(patch: Patch) -> None:
    """A new instance of a slot does not get a higher epoch."""

    async def none(tx: Any, workload: Any) -> dict[int, Any]:
        return {}

    patch.setattr(converging, "newest_instances", none)
    patch.setattr(workloads, "newest_instances", none)


def capacity_ignored(patch: Patch) -> None:
    """Nobody looks at what a node has left."""
    patch.setattr(filters.ResourceFilter, "check", lambda self, request, candidate: True)
    patch.setattr(candidate, "_has", lambda free, need: True)
    patch.setattr(scheduling, "_has_room", lambda node, others, instance: True)


def old_term_accepted(patch: Patch) -> None:
    """A scheduler that lost its lease goes on, and the registry does not look at its term."""

    async def keep(self: Any, lease: Any) -> None:
        await asyncio.Event().wait()

    async def round_of_any_term(self: Any, workload_ids: Any) -> int:
        query = SchedulingQuery(workload_ids=workload_ids)
        snapshot = await self._bus.ask(c.SCHEDULING_SNAPSHOT, query)
        nodes = {node.node_id: node for node in snapshot.nodes}
        return sum([await self._place(batch, nodes) for batch in rounds._batches(snapshot.wanted)])

    async def commit(deps: Any, request: Any) -> Any:
        async with deps.store.transaction() as tx:
            newest = await scheduling._cluster(tx)
        return await scheduling.commit_placements(deps, request.model_copy(update={"term": newest.term}))

    patch.setattr(leadership.Leadership, "keep", keep)
    patch.setattr(rounds.Rounds, "_round", round_of_any_term)
    patch.setitem(handlers.ABOUT_WORKLOADS, c.COMMIT_PLACEMENTS, commit)


def home_of_a_volume_forgotten(patch: Patch) -> None:
    """Nobody remembers where a workload's data is."""
    request = placement_wishes.placement_request
    patch.setattr(
        placement_wishes,
        "placement_request",
        lambda row, workload, revision, spec, home, around: request(
            row, workload, revision, spec, None, around
        ),
    )


def update_never_goes_back(patch: Patch) -> None:
    """An update that fails is waited for."""

    def patient(state: RolloutState, *rest: Any, settled: bool, **named: Any) -> Verdict:
        return judge(state, *rest, settled=True, **named) if settled else Verdict(state=state)

    patch.setattr(converging, "judge", patient)


def work_for_nodes_that_take_none(patch: Patch) -> None:
    """The scheduler does not look at what a node's state is."""
    patch.setattr(filters.StateFilter, "check", lambda self, request, candidate: True)


PLANTED: tuple[Plant, ...] = (
    unknown_is_deleted,
    absence_is_a_delete,
    tombstone_dropped_early,
    older_orders_accepted,
    older_reports_believed,
    removal_looked_at_twice,
    acts_before_it_journals,
    epoch_given_twice,
    capacity_ignored,
    old_term_accepted,
    home_of_a_volume_forgotten,
    update_never_goes_back,
    work_for_nodes_that_take_none,
)
