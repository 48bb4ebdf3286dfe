"""Looks up in DNS whether domains of people's own lead to the public names that they are meant for, and tells the ingresses of those that do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from loguru import logger

from lattice.errors import Conflict, StaleVersion
from lattice.storage import Lt, Not, Transaction
from services.registry import routes
from services.registry.change import SYSTEM, Change, Deps
from services.registry.dns import AskDns
from services.registry.domain_rules import (
    GRACE,
    DnsAnswer,
    DomainJudgement,
    DomainState,
    KnownDomain,
    is_proved,
    judge,
)
from services.registry.tables import DomainRow, RouteRow, WorkloadRow

_AT_ONCE = 20
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class DomainChecks:
    """The loop; one replica at a time."""

    deps: Deps
    ask: AskDns

    async def run(self) -> None:
        """Look up what is due, for ever while this process holds the lock."""
        while True:
            async with self.deps.store.exclusive("domains") as held:
                while held:
                    await self.round()
                    await asyncio.sleep(_LOOK_EVERY_S)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def round(self) -> None:
        """Look up what is due now, a bounded number at the same time, and act on it."""
        async with self.deps.store.transaction() as tx:
            due = await tx.find(
                DomainRow, next_check_at=Lt(self.deps.now()), order_by=("next_check_at", "id"), limit=_AT_ONCE
            )
        answers = await asyncio.gather(*(self.ask(domain.name) for domain in due))
        for domain, answer in zip(due, answers, strict=True):
            try:
                await self._act_on(domain, answer)
            except (StaleVersion, Conflict) as error:
                logger.info("{} is looked up again later: {}", domain.name, error)

    async def _act_on(self, domain: DomainRow, answer: DnsAnswer) -> None:
        async with self.deps.change(SYSTEM, action="domain.check") as change:
            workload = await change.tx.get(WorkloadRow, domain.workload_id, lock=True)
            route = await change.tx.get(RouteRow, domain.route_id)
            row = await change.tx.get(DomainRow, domain.id, lock=True)
            if workload is None or route is None or row is None:
                return
            target, holder = change.places.name_of(route.host), await _other_holder(change.tx, row)
            if holder is not None and is_proved(answer, target) and not answer.problem:
                await _end_grace(change, holder, answer)
            judgement = judge(_known(row), answer, target=target, is_taken=holder is not None, now=change.now)
            await _apply(change, workload, route, row, judgement)


def _known(row: DomainRow) -> KnownDomain:
    return KnownDomain(
        name=row.name,
        state=DomainState(row.state),
        created_at=row.created_at,
        failing_since=row.failing_since,
    )


async def _other_holder(tx: Transaction, row: DomainRow) -> DomainRow | None:
    """Whose the domain is, if it is another workload's."""
    found = await tx.find(DomainRow, name=row.name, state=DomainState.VERIFIED, id=Not(row.id))
    return found[0] if found else None


async def _end_grace(change: Change, holder: DomainRow, answer: DnsAnswer) -> None:
    """Somebody else has the proof: a holder whose own record is gone is looked at now, and keeps the domain no longer."""
    route = await change.tx.get(RouteRow, holder.route_id)
    if route is not None and not is_proved(answer, change.places.name_of(route.host)):
        change.tx.update(holder, next_check_at=change.now, failing_since=change.now - GRACE)


async def _apply(
    change: Change, workload: WorkloadRow, route: RouteRow, row: DomainRow, judgement: DomainJudgement
) -> None:
    before = row.state
    row = change.tx.update(
        row,
        state=judgement.state,
        reason=judgement.reason,
        next_check_at=judgement.next_check_at,
        failing_since=judgement.failing_since,
        checked_at=change.now,
    )
    if row.state == before:
        return
    verb = "domain_verified" if row.state == DomainState.VERIFIED else "domain_lost"
    change.audit(
        "route", route.id, entity_name=route.host, project=route.project, before={"domain": row.name, "state": before},
        after={"domain": row.name, "state": row.state},
    )  # fmt: skip
    change.fact(
        "route", verb, entity_id=route.id, entity_name=route.host, workload_id=route.workload_id, project=route.project,
        cause=row.reason or f"{row.name} leads there",
    )  # fmt: skip
    await routes.refresh(change, workload)
