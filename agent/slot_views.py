"""The world slot by slot: what a document wants in each, and what is there.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.facts import Facts
from agent.naming import Slot, key_from, slot_of
from lattice.contracts.messages import DesiredDocument, DesiredInstance, Tombstone
from lattice.contracts.nouns import ContainerKey
from lattice.runtime import Container


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotView:
    """All that matters to the decision about one slot."""

    slot: Slot
    instance: DesiredInstance | None
    tombstones: tuple[Tombstone, ...]
    containers: tuple[tuple[ContainerKey, Container], ...]
    highest_epoch: int | None

    @property
    def buried(self) -> int:
        """Every container of the slot up to this epoch must be gone."""
        return max((tombstone.key.epoch for tombstone in self.tombstones), default=-1)


def slot_views(
    document: DesiredDocument | None, containers: Iterable[Container], facts: Facts
) -> tuple[dict[Slot, SlotView], list[Container]]:
    """The world by slot, and the containers whose labels name no slot."""
    instances = {slot_of(i.key): i for i in document.instances} if document else {}
    tombstones: dict[Slot, list[Tombstone]] = {}
    for tombstone in document.tombstones if document else ():
        tombstones.setdefault(slot_of(tombstone.key), []).append(tombstone)
    found: dict[Slot, list[tuple[ContainerKey, Container]]] = {}
    strangers = []
    for container in containers:
        key = key_from(container.labels)
        if key is None:
            strangers.append(container)
        else:
            found.setdefault(slot_of(key), []).append((key, container))
    slots = dict.fromkeys([*instances, *tombstones, *found])
    views = {
        slot: SlotView(
            slot=slot,
            instance=instances.get(slot),
            tombstones=tuple(tombstones.get(slot, ())),
            containers=tuple(sorted(found.get(slot, ()), key=lambda pair: pair[0].epoch)),
            highest_epoch=facts.highest_epoch(slot),
        )
        for slot in slots
    }
    return views, strangers
