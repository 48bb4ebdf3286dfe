"""What wakes the scheduler: a wanted placement, and facts after which there may be room."""

from __future__ import annotations

from dataclasses import dataclass

from lattice.contracts.messages import Fact, PlacementWanted
from lattice.messaging import Received
from services.scheduler.rounds import Rounds
from services.scheduler.turns import Turns

_MAKES_ROOM = frozenset({"node", "instance", "workload", "volume"})
# A wish for a place, or news of who has one.
_MAKES_NONE = {
    "workload": frozenset({"created"}),
    "instance": frozenset(
        {"placed", "unplaceable", "released", "ready", "unhealthy", "restarted", "oom_killed"}
    ),
}


@dataclass(frozen=True, slots=True)
class Handlers:
    """The handlers of one term."""

    rounds: Rounds
    turns: Turns

    async def wanted(self, received: Received[PlacementWanted]) -> None:
        """Acknowledged when a round that began after it is through, whatever the round decided; again when the round failed."""
        await self.turns.wanted(received.message.workload_id)

    async def fact(self, received: Received[Fact]) -> None:
        """Look again if somebody waits for a place and this may have made one."""
        fact = received.message
        company = self.rounds.left_wanting_company and may_bring_company(fact)
        if company or (self.rounds.left_waiting and may_make_room(fact)):
            self.turns.poke()


def may_make_room(fact: Fact) -> bool:
    """Whether a place may have come free: a node joined or changed, an instance ended, a volume was released."""
    return fact.entity in _MAKES_ROOM and fact.verb not in _MAKES_NONE.get(fact.entity, ())


def may_bring_company(fact: Fact) -> bool:
    """Whether somebody got a place near whom others have to be."""
    return (fact.entity, fact.verb) == ("instance", "placed")
