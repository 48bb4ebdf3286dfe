"""The words of a plan: steps, waits and refusals, by slot.  `reconcile` and `job_plan` decide them, the executor takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from agent.naming import Slot
from lattice.contracts.messages import DesiredInstance
from lattice.contracts.nouns import ContainerKey
from lattice.runtime import Container


class Verb(StrEnum):
    """One thing the agent can do."""

    PULL = "pull"
    STOP = "stop"
    REMOVE = "remove"
    CREATE = "create"
    START = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do, and why.  `instance` is set where something is brought up, `container` where something is there."""

    verb: Verb
    key: ContainerKey
    reason: str
    instance: DesiredInstance | None = None
    container: Container | None = None
    restart: bool = False
    run_id: str = ""
    """Which run of a job the container is for; "" for a service's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing yet: the next attempt is due at `until`."""

    key: ContainerKey
    until: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An order that is not followed, and why."""

    key: ContainerKey
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPlan:
    """What one slot needs, in order."""

    slot: Slot
    steps: tuple[Step, ...] = ()
    wait: Wait | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the whole node needs."""

    slots: Mapping[Slot, SlotPlan] = field(default_factory=dict)
    quarantined: tuple[Container, ...] = ()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do now."""
        return not any(plan.steps for plan in self.slots.values())

    @property
    def wake_at(self) -> datetime | None:
        """When something that waits is due."""
        return min((plan.wait.until for plan in self.slots.values() if plan.wait), default=None)
