"""Which instances a workload lacks and which it has too many of.  Pure: one answer for deploys, updates, scaling and starts.

`converge` compares the goal with what is there and says what to make and what to take away now; it is asked again whenever something was
observed, until nothing is left to do.  Slots only name replicas: a new instance takes the lowest slot that no container can still be in, so
during a start-first update one replica more than wanted stands beside the old ones, in a slot of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, islice


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is wanted: so many instances of this revision.

    `surge` more than wanted may exist meanwhile, `max_unavailable` fewer may serve.  An `exclusive` workload has data that no two instances
    may use at once, so one that is leaving is waited for even if its node is away.
    """

    replicas: int
    revision: int
    surge: int = 1
    max_unavailable: int = 0
    exclusive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """An instance that is not gone yet; `leaving` ones were ordered gone.

    One that is `displaced` serves until another does, elsewhere; one that is `lost` does not serve any more.
    """

    id: str
    slot: int
    revision: int
    leaving: bool = False
    ready: bool = False
    node_away: bool = False
    displaced: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """What to do now, and how far it is: `settled` means that all is as wanted."""

    create_slots: tuple[int, ...] = ()
    retire: tuple[str, ...] = ()
    ready: int = 0
    settled: bool = False

    @property
    def any(self) -> bool:
        """Whether there is something to do now."""
        return bool(self.create_slots or self.retire)


def converge(goal: Goal, replicas: Sequence[Replica]) -> Moves:
    """What brings the workload nearer to its goal without serving less than the goal allows."""
    lost = [replica for replica in replicas if replica.lost and not replica.leaving]
    staying = [replica for replica in replicas if not (replica.leaving or replica.lost)]
    wanted, surplus = _split(goal, [r for r in staying if _is_as_wanted(r, goal)])
    old = [replica for replica in staying if not _is_as_wanted(replica, goal)]
    retired = [*lost, *surplus, *_dispensable(goal, wanted, old)]
    busy = [r for r in replicas if r.leaving and (goal.exclusive or not r.node_away)]
    room = goal.replicas + goal.surge - len(wanted) - len(old) - len(busy) - len(surplus)
    missing = max(0, min(goal.replicas - len(wanted), room))
    ready = sum(replica.ready for replica in wanted)
    return Moves(
        create_slots=tuple(islice(_free_slots(replicas), missing)),
        retire=tuple(replica.id for replica in retired),
        ready=ready,
        settled=ready == goal.replicas and not (lost or old or surplus or busy),
    )


def _is_as_wanted(replica: Replica, goal: Goal) -> bool:
    return replica.revision == goal.revision and not replica.displaced


def _split(goal: Goal, current: Iterable[Replica]) -> tuple[list[Replica], list[Replica]]:
    """Those that stay, and those that are too many: what serves stays, then what has the lower slot."""
    ranked = sorted(current, key=lambda replica: (not replica.ready, replica.slot))
    return ranked[: goal.replicas], ranked[goal.replicas :]


def _dispensable(goal: Goal, wanted: Sequence[Replica], old: Sequence[Replica]) -> list[Replica]:
    """The old ones that may go now: what does not serve first.  An old one that does not serve at this moment counts as if it did, because
    it may be about to, and the way back leads to it."""
    spare = sum(replica.ready for replica in wanted) + len(old) - (goal.replicas - goal.max_unavailable)
    return sorted(old, key=lambda replica: (replica.ready, -replica.slot))[: max(0, spare)]


def _free_slots(replicas: Sequence[Replica]) -> Iterable[int]:
    taken = {replica.slot for replica in replicas}
    return (slot for slot in count() if slot not in taken)
