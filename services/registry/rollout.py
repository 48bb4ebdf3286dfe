"""Whether an update goes on, has succeeded, or goes back.  Pure: the decision and its reason from what is seen of the new instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lattice.contracts.messages import RunSpec
from lattice.contracts.nouns import RolloutState
from lattice.contracts.spec import UpdateOrder, UpdateSpec
from services.registry.lifecycle import Goal

# As Docker Swarm watches a new task by default (its `--update-monitor`).
UNCHECKED_FOR = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """An instance of the revision that is rolled out; `waited_for_since` is None while it counts as healthy."""

    slot: int
    waited_for_since: datetime | None
    hopeless: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of the update, and why."""

    state: RolloutState
    reason: str = ""


def order_of(update: UpdateSpec, run: RunSpec) -> tuple[UpdateOrder, str]:
    """The order that is safe for what is run, and why it is not the one that was asked for."""
    if update.order is UpdateOrder.START_FIRST and run.volumes:
        return UpdateOrder.STOP_FIRST, "stop-first, because no two instances may use its volume at once"
    if update.order is UpdateOrder.START_FIRST and run.job:
        return UpdateOrder.STOP_FIRST, "stop-first, because two instances of a job would run it twice"
    if update.order is UpdateOrder.START_FIRST and run.host_ports:
        ports = ", ".join(map(str, run.host_ports))
        return (
            UpdateOrder.STOP_FIRST,
            f"stop-first, because its fixed host port {ports} is free only when the old instance is gone",
        )
    return update.order, ""


def goal_of(*, replicas: int, revision: int, update: UpdateSpec, run: RunSpec) -> Goal:
    """How the instances of a revision take the place of others."""
    order, _ = order_of(update, run)
    stop_first = order is UpdateOrder.STOP_FIRST
    return Goal(
        replicas=replicas,
        revision=revision,
        surge=0 if stop_first else 1,
        max_unavailable=max(1, update.max_unavailable) if stop_first else update.max_unavailable,
        exclusive=bool(run.volumes),
    )


def healthy_for(update: UpdateSpec, run: RunSpec) -> timedelta:
    """How long a new instance must have served to count: where no check says that it works, it must at least stay up for a while."""
    if update.healthy_for is not None:
        return timedelta(seconds=update.healthy_for)
    return UNCHECKED_FOR if run.health is None else timedelta(0)


def judge(
    state: RolloutState,
    update: UpdateSpec,
    newcomers: Sequence[Newcomer],
    *,
    has_way_back: bool,
    settled: bool,
    now: datetime,
) -> Verdict:
    """What becomes of an update that is under way."""
    if settled:
        back = state is RolloutState.ROLLING_BACK
        return Verdict(state=RolloutState.ROLLED_BACK if back else RolloutState.SUCCEEDED)
    trouble = _trouble(newcomers, timedelta(seconds=update.healthy_deadline), now)
    if trouble is None or state is RolloutState.ROLLING_BACK:
        return Verdict(state=state)
    if not update.auto_rollback:
        return Verdict(state=RolloutState.FAILED, reason=f"{trouble}; update.auto_rollback is off")
    if not has_way_back:
        return Verdict(
            state=RolloutState.FAILED, reason=f"{trouble}; no earlier revision has worked, so there is none to go back to"
        )  # fmt: skip
    return Verdict(state=RolloutState.ROLLING_BACK, reason=trouble)


def _trouble(newcomers: Sequence[Newcomer], patience: timedelta, now: datetime) -> str | None:
    for newcomer in newcomers:
        if newcomer.waited_for_since is None:
            continue
        if newcomer.hopeless:
            return newcomer.reason or "its container does not stay up"
        if now - newcomer.waited_for_since >= patience:
            why = f": {newcomer.reason}" if newcomer.reason else ""
            return f"not healthy within {patience.total_seconds():g} s{why}"
    return None
