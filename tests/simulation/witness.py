"""Sees every commit and every act on an Engine at the moment it happens, and says what must never happen.

`Witness.broken` is the list of broken promises; a run is good while it is empty.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import SQLModel

from agent.naming import REVISION, WORKLOAD, key_from
from lattice.contracts.nouns import ContainerKey, Inventory, Liveness, Membership, RolloutState
from lattice.postgres_rows import shape_of
from lattice.runtime import Container, ContainerOptions
from lattice.storage import Transaction
from lattice.testing import MemoryStore
from lattice.testing.runtime import FakeRuntime
from lattice.testing.store_transaction import MemoryDatabase, MemoryTransaction
from services.registry.tables import (
    LOCK_ORDER,
    ClusterRow,
    InstanceRow,
    NodeRow,
    OperationRow,
    RevisionRow,
    RolloutRow,
    VolumeRow,
    WorkloadRow,
)

CLUSTER_ID = "c1c1c1c1"
# A container of ours that no document speaks of.
STRANGER_KEY = ContainerKey(workload_id="wl-stranger", slot=0, epoch=1)
STRANGER = STRANGER_KEY.container_name(CLUSTER_ID)
# The version whose containers end at once.
BAD = "bad"


@dataclass
class UnevenDatabase(MemoryDatabase):
    """An empty one that tells who locks in another order than the agreed one, and whose statements take up to `statement_s` each: others come
    in between, in ever other orders."""

    lock_order: tuple[type[SQLModel], ...] = LOCK_ORDER
    statement_s: float = 0.0
    chance: random.Random = field(default_factory=random.Random)

    async def reach(self) -> None:
        # One in three, and then three times as long: what matters is that they differ, and each turn of the loop costs.
        if self.statement_s and self.chance.random() < 1 / 3:
            await asyncio.sleep(self.chance.random() * self.statement_s * 3)
        await super().reach()


@dataclass
class Witness:
    """What has happened so far, as far as a later step could contradict it."""

    db: MemoryDatabase
    engines: dict[str, Engine] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _unwanted: set[str] = field(default_factory=set)
    _epochs: dict[tuple[str, int], int] = field(default_factory=dict)
    _made: dict[tuple[str, str, int], int] = field(default_factory=dict)
    _orders: dict[str, tuple[int, int]] = field(default_factory=dict)
    _reports: dict[str, tuple[int, int]] = field(default_factory=dict)
    _placed: set[str] = field(default_factory=set)
    _gone: set[str] = field(default_factory=set)
    term: int = 0

    def rows(self, table: type[SQLModel]) -> list[Mapping[str, Any]]:
        """The committed rows."""
        return list(self.db.table(shape_of(table)).rows.values())

    def say(self, promise: str) -> None:
        if promise not in self.broken:
            self.broken.append(promise)

    # --- commits -------------------------------------------------------------------------------------------

    def committed(self) -> None:
        """Look at what has just been committed."""
        nodes = {row["id"]: row for row in self.rows(NodeRow)}
        for row in self.rows(InstanceRow):
            self._look_at_instance(row, nodes)
        self._look_at_room(nodes)
        self._look_at_reports(nodes)
        self._look_at_operations()
        for cluster in self.rows(ClusterRow):
            if cluster["term"] < self.term:
                self.say(f"a term never sinks: {self.term} became {cluster['term']}")
            self.term = cluster["term"]

    def _look_at_instance(self, row: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> None:
        slot, key = (row["workload_id"], row["slot"]), row["id"]
        if row["desired"] != "running":
            self._unwanted.add(key)
        if key not in self._seen:
            self._seen.add(key)
            if row["epoch"] <= self._epochs.get(slot, 0):
                self.say(f"an epoch only rises: {slot} had {self._epochs[slot]}, then {row['epoch']}")
            self._epochs[slot] = max(row["epoch"], self._epochs.get(slot, 0))
        if row["node_id"] is not None and key not in self._placed:
            self._placed.add(key)
            self._look_at_place(row, nodes[row["node_id"]])
        if row["gone_at"] is not None and key not in self._gone:
            self._gone.add(key)
            self._look_at_end(row)

    def _look_at_place(self, row: Mapping[str, Any], node: Mapping[str, Any]) -> None:
        ready = node["liveness"] == Liveness.READY and node["membership"] == Membership.APPROVED
        if not ready or node["cordoned"] or node["draining"]:
            self.say("nothing is placed on a node that takes no work")
        homes = {
            volume["node_id"]
            for volume in self.rows(VolumeRow)
            if volume["workload_id"] == row["workload_id"]
        }
        if row["has_volume"] and homes != {row["node_id"]}:
            self.say("a workload with a volume is started where the volume is, or nowhere")

    def _look_at_end(self, row: Mapping[str, Any]) -> None:
        if row["desired"] != "removed":
            self.say("absence is never a delete: an instance that is wanted was taken for gone")
        if row["node_id"] is None:
            return
        key = ContainerKey(workload_id=row["workload_id"], slot=row["slot"], epoch=row["epoch"])
        if any(key_from(found.labels) == key for found in self.engines[row["node_id"]].there()):
            self.say("what is told to be gone is gone: its container is still there")

    def _look_at_room(self, nodes: Mapping[str, Mapping[str, Any]]) -> None:
        taken: Counter[str] = Counter()
        for row in self.rows(InstanceRow):
            if row["node_id"] is not None and row["gone_at"] is None:
                taken[row["node_id"]] += row["cpu_millis"]
        for node_id, cpu_millis in taken.items():
            if cpu_millis > Inventory.model_validate(nodes[node_id]["inventory"]).capacity.cpu_millis:
                self.say("no node is given more than it has")

    def _look_at_reports(self, nodes: Mapping[str, Mapping[str, Any]]) -> None:
        for node_id, row in nodes.items():
            told = row["session"], row["observed_counter"]
            if told < self._reports.get(node_id, told):
                self.say(f"a report never takes the place of a newer one: {node_id} went back")
            self._reports[node_id] = told

    def _look_at_operations(self) -> None:
        gone = {row["id"] for row in self.rows(WorkloadRow) if row["removed_at"] is not None}
        for row in self.rows(OperationRow):
            if row["ended_at"] is None and row["subject_id"] in gone:
                self.say(f"an operation ends with what it is about: {row['kind']} does not")

    def placements_committed(self, request: Any, reply: Any, term: int) -> None:
        """A scheduler's commit came through; `term` was the newest when it began."""
        if reply.accepted and request.term < term:
            self.say("a scheduler whose term is over places nothing")

    # --- Engines -------------------------------------------------------------------------------------------

    def journalled(self, node_id: str, order: tuple[int, int]) -> None:
        if order < self._orders.get(node_id, (0, 0)):
            self.say("a node never goes back to older orders")
        self._orders[node_id] = max(order, self._orders.get(node_id, (0, 0)))

    def made(self, node_id: str, labels: Mapping[str, str]) -> None:
        """A container was made on a node."""
        key = key_from(labels)
        if key is None:
            return
        slot = (node_id, key.workload_id, key.slot)
        if key.epoch < self._made.get(slot, 0):
            self.say("a node never makes a container of an older epoch of its slot")
        self._made[slot] = max(key.epoch, self._made.get(slot, 0))
        self._look_at_dependencies(labels)

    def _look_at_dependencies(self, labels: Mapping[str, str]) -> None:
        """What a workload depends on has run before a container of it is made."""
        number = f"{labels[WORKLOAD]}-{labels[REVISION]}" if REVISION in labels else ""
        needs = {
            name
            for row in self.rows(RevisionRow)
            if row["id"] == number
            for name in row["spec"]["depends_on"]
        }
        if needs:
            ran = {row["workload_name"] for row in self.rows(InstanceRow) if row["started_at"] is not None}
            if not needs <= ran:
                self.say(
                    f"what is waited for comes first: {labels[WORKLOAD]} was made before {sorted(needs - ran)}"
                )

    def touched(self, node_id: str, container: Container) -> None:
        """A container was stopped or removed on a node."""
        if container.name == STRANGER:
            self.say("a container that nobody knows is left alone")
        key = key_from(container.labels)
        if key is None or not container.is_up:
            return
        for row in self.rows(InstanceRow):
            if (row["workload_id"], row["slot"], row["epoch"]) == (key.workload_id, key.slot, key.epoch):
                if row["id"] not in self._unwanted:
                    self.say("nothing stops a container but an order")
                return

    def look(self) -> None:
        """What holds at every moment, whatever has failed."""
        for node_id, engine in self.engines.items():
            up = [key_from(found.labels) for found in engine.there() if found.is_up]
            slots = Counter((key.workload_id, key.slot) for key in up if key is not None)
            if any(count > 1 for count in slots.values()):
                self.say(f"a slot has one container on a node: {node_id} has two")

    # --- at the end ----------------------------------------------------------------------------------------

    def settled(self) -> list[str]:
        """What is not as it ought to be once everything has healed and had its time."""
        return [*self._open_ends(), *self._not_as_wanted()]

    def _open_ends(self) -> Iterable[str]:
        for node_id, engine in self.engines.items():
            if not any(found.name == STRANGER for found in engine.there()):
                yield f"{node_id}: the container that nobody knows is gone"
        for row in self.rows(NodeRow):
            if row["liveness"] != Liveness.READY:
                yield f"node {row['id']} is {row['liveness']}"

    def _cannot_run(self, workload: Mapping[str, Any]) -> bool:
        """Whether its version ends at once, and none has worked that it could go back to; or it was taken without anything to run."""
        spec = next(row["spec"] for row in self.rows(RevisionRow) if row["id"] == _current(workload))
        if workload["desired"] != "running" or spec["env"].get("V") != BAD:
            return False
        updates = [row for row in self.rows(RolloutRow) if row["workload_id"] == workload["id"]]
        newest = max(updates, key=lambda row: row["to_revision"], default=None)
        unseen = workload["stable_revision"] != workload["revision"]
        return workload["stable_revision"] is None or (
            unseen and newest is not None and newest["state"] == RolloutState.SUCCEEDED
        )

    def _not_as_wanted(self) -> Iterable[str]:
        up = [key for engine in self.engines.values() for key in engine.up()]
        for workload in self.rows(WorkloadRow):
            if self._cannot_run(workload):
                continue
            mine = [key for key in up if key.workload_id == workload["id"]]
            wanted = workload["replicas"] if workload["desired"] == "running" else 0
            slots = {key.slot for key in mine}
            if len(mine) != wanted or len(slots) != len(mine):
                yield f"{workload['name']} is wanted {wanted} times and runs as {sorted(map(str, mine))}"
            if workload["desired"] == "removed" and workload["removed_at"] is None:
                yield f"{workload['name']} is still being removed"
            current = {
                (row["slot"], row["epoch"])
                for row in self.rows(InstanceRow)
                if row["workload_id"] == workload["id"] and row["revision"] == workload["revision"]
            }
            if any((key.slot, key.epoch) not in current for key in mine):
                yield f"{workload['name']} runs another revision than {workload['revision']}"


def _current(workload: Mapping[str, Any]) -> str:
    return f"{workload['id']}-{workload['revision']}"


class _SeenTransaction(MemoryTransaction):
    def __init__(self, db: MemoryDatabase, witness: Witness) -> None:
        super().__init__(db)
        self._witness = witness

    async def commit(self) -> None:
        await super().commit()
        if self.wrote:
            self._witness.committed()


class SeenStore(MemoryStore):
    """A store whose commits are seen."""

    def __init__(self, witness: Witness) -> None:
        super().__init__(witness.db)
        self._witness = witness

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        unit = _SeenTransaction(self.database, self._witness)
        try:
            yield unit
            await unit.commit()
        finally:
            await unit.end()


class Engine(FakeRuntime):
    """An Engine whose acts are seen."""

    def __init__(self, node_id: str, witness: Witness, **more: Any) -> None:
        super().__init__(**more)
        self._node_id, self._witness = node_id, witness
        witness.engines[node_id] = self

    def there(self) -> list[Container]:
        """Every container now, without asking the Engine."""
        return [kept.shown for kept in self._containers.values()]

    def up(self) -> list[ContainerKey]:
        """The keys of the containers that run."""
        keys = [key_from(found.labels) for found in self.there() if found.is_up]
        return [key for key in keys if key is not None]

    async def create(self, options: ContainerOptions) -> Container:
        made = await super().create(options)
        self._witness.made(self._node_id, options.labels)
        return made

    async def stop(self, name: str, *, timeout_s: int) -> Container:
        found = self._find(name)
        before = found.shown if found else None
        stopped = await super().stop(name, timeout_s=timeout_s)
        if before is not None:
            self._witness.touched(self._node_id, before)
        return stopped

    async def remove(self, name: str) -> None:
        found = self._find(name)
        before = found.shown if found else None
        await super().remove(name)
        if before is not None:
            self._witness.touched(self._node_id, before)
