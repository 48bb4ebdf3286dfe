"""Whether an instance that keeps failing where it is should be tried on another node, and which nodes it avoids then.  Pure.

Starting it again and again on one node helps against a passing fault, and not against a full disk, a broken device or a network that is not
there.  Each move that did not help doubles how long it must fail before the next, so that what is broken itself does not wander for ever; an
instance that served for that long in between begins anew.  Data never moves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from lattice.contracts.placement_spec import parse_constraint
from lattice.contracts.spec import WorkloadSpec
from services.registry.displacement import Displaced, Displacement

# As long as Nomad waits at most before it reschedules again (its `max_delay`).
LONGEST_PAUSE = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """An instance without a volume that keeps failing; `moves` is how often it was tried elsewhere before, in vain."""

    node: str
    since: datetime
    placed_at: datetime
    reason: str
    moves: int = 0


def pause(after_s: float, moves: int) -> timedelta:
    """How long it must fail before it is tried elsewhere."""
    first = timedelta(seconds=after_s)
    # 2 to the power of 16 reaches the longest pause from one second on.
    return min(first * (1 << min(moves, 16)), max(first, LONGEST_PAUSE))


def in_vain(failing: Failing, after_s: float) -> int:
    """How many moves in a row have not helped: none, if it served here for longer than the pause."""
    served = failing.since - failing.placed_at
    return 0 if served >= pause(after_s, failing.moves) else failing.moves


def tried_elsewhere(
    failing: Failing, spec: WorkloadSpec, *, pools: Collection[str], now: datetime
) -> Displaced:
    """Whether it is to be tried on another node now; `pools` are those of the other nodes that take work."""
    after_s = spec.restart.reschedule_after
    if after_s is None or is_pinned(spec) or not set(pools).intersection(spec.placement.pools):
        return Displaced()
    wait = pause(after_s, in_vain(failing, after_s))
    if now - failing.since < wait:
        return Displaced()
    reason = f"it kept failing on node {failing.node} for {_minutes(now - failing.since)}: {failing.reason}"
    return Displaced(how=Displacement.FAILING, reason=reason)


def is_pinned(spec: WorkloadSpec) -> bool:
    """Whether a constraint names the one node on which it may run."""
    return any(parse_constraint(text)[:2] == ("node", "==") for text in spec.placement.constraints)


def avoided(failed_on: Mapping[str, str], still_on: Collection[str], *, asked_before: bool) -> dict[str, str]:
    """Node id -> why an instance is not placed there.

    While the one that fails is still on its node, that node is no answer.  The others are avoided at first; if no other takes it, running where
    it failed is better than not running.
    """
    return {
        node_id: reason for node_id, reason in failed_on.items() if node_id in still_on or not asked_before
    }


def _minutes(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
