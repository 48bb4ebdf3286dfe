"""What the agent itself must remember across a crash, beside the desired document: small, frozen, and journalled before it counts.

The highest epoch per slot fences older orders; the record of each instance carries what no container shows (how often it was restarted, when
it may be tried again, whether it was we who stopped it); the volumes are those that were once made here, so that one that vanished is never
silently replaced by an empty one; ports are kept per slot, so that a replacement answers where its predecessor did.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from agent.job_facts import JobRecord, bounded
from agent.naming import Slot, slot_of
from lattice.contracts.messages import DesiredDocument, DesiredInstance
from lattice.contracts.nouns import ContainerKey, DesiredState, LastExit, Noun

# Slots that nothing fills any more, and whose ports are still kept for whatever fills them next.
PORTS_REMEMBERED = 256


class Failure(Noun):
    """The last step of an instance that failed.  `final` means that only another order can help, though it is tried again all the same."""

    step: str
    reason: str
    final: bool = False


class DeadRun(Noun):
    """A run of a container that its liveness check gave up: it is ended, and counts as a crash whatever code it leaves."""

    run: str = Field(description="container and start")
    reason: str
    noted_at: datetime
    worked_s: float = Field(0.0, description="how long after the start the check last succeeded")


class InstanceRecord(Noun):
    """What the agent remembers of one instance."""

    key: ContainerKey
    restarts: int = 0
    crashes: int = Field(0, description="exits in a row that did not follow a stable run")
    failures: int = Field(0, description="failed attempts in a row to bring it up")
    noticed_at: datetime | None = Field(None, description="when the last exit or failure was seen")
    not_before: datetime | None = Field(None, description="when the next attempt may be made")
    delay_s: float = 0.0
    noticed_exit: str = Field("", description="which exit was already counted: container and time")
    was_made: bool = False
    admitted: bool = Field(False, description="the owner's policy let it in once; that stays so")
    stopped_by_us: bool = False
    failure: Failure | None = None
    dead: DeadRun | None = None
    last_exit: LastExit | None = None
    failing_since: datetime | None = Field(None, description="the first failure after a stable run")
    running_id: str = Field("", description="the container that runs, until its end was noted")
    recent_exits: tuple[datetime, ...] = ()


class PulledImage(Noun):
    """An image that the agent pulled and that was not on the node before."""

    references: tuple[str, ...] = Field((), description="the names that it was pulled by")
    pulled_at: datetime
    unused_since: datetime | None = Field(None, description="null while a container of anybody uses it")


class Facts(Noun):
    """Everything that the agent remembers."""

    epochs: dict[str, int] = Field({}, description="`workload/slot` -> highest epoch ever ordered")
    records: dict[str, InstanceRecord] = Field({}, description="`workload/slot/epoch` -> record")
    ports: dict[str, dict[str, int]] = Field({}, description="`workload/slot` -> container port -> host port")
    volumes: frozenset[str] = frozenset()
    jobs: dict[str, JobRecord] = Field({}, description="`workload/slot/epoch` -> runs of a job")
    run_serial: int = Field(0, description="the newest `serial` of a run")
    runs_known: int = Field(0, description="the registry knows of the runs up to this `serial`")

    def highest_epoch(self, slot: Slot) -> int | None:
        """The highest epoch that was ever ordered for a slot."""
        return self.epochs.get(slot_text(slot))

    def record(self, key: ContainerKey) -> InstanceRecord:
        """The record of an instance; an empty one if there is none yet."""
        return self.records.get(key_text(key)) or InstanceRecord(key=key)

    def with_record(self, record: InstanceRecord) -> Facts:
        """These facts with one record replaced."""
        return self.model_copy(update={"records": {**self.records, key_text(record.key): record}})

    def without(self, key: ContainerKey) -> Facts:
        """These facts after an instance is gone for good."""
        records = {text: record for text, record in self.records.items() if text != key_text(key)}
        return self.model_copy(update={"records": records})

    def with_ports(self, slot: Slot, ports: dict[str, int]) -> Facts:
        """These facts with the ports of one slot replaced."""
        return self.model_copy(update={"ports": {**self.ports, slot_text(slot): ports}})

    def with_volumes(self, volumes: frozenset[str]) -> Facts:
        return self.model_copy(update={"volumes": volumes})


def slot_text(slot: Slot) -> str:
    return f"{slot[0]}/{slot[1]}"


def key_text(key: ContainerKey) -> str:
    return f"{key.workload_id}/{key.slot}/{key.epoch}"


def accepts(known: DesiredDocument | None, offered: DesiredDocument) -> bool:
    """Whether a document replaces the one that is journalled: only a newer one of the same cluster and node does."""
    if known is None:
        return True
    same = (known.cluster_id, known.node_id) == (offered.cluster_id, offered.node_id)
    return same and offered.order > known.order


def learn(facts: Facts, document: DesiredDocument) -> Facts:
    """The facts with what a newly accepted document orders: epochs only rise; what nobody asks for any more is forgotten."""
    epochs = dict(facts.epochs)
    for key in [*(i.key for i in document.instances), *(t.key for t in document.tombstones)]:
        text = slot_text(slot_of(key))
        epochs[text] = max(key.epoch, epochs.get(text, key.epoch))
    slots = {slot_text(slot_of(instance.key)) for instance in document.instances}
    return facts.model_copy(
        update={
            "epochs": epochs,
            "records": {key_text(i.key): _ordered(facts.record(i.key), i) for i in document.instances},
            "ports": _remembered(facts.ports, slots),
            "volumes": facts.volumes.difference(document.remove_volumes),
            "jobs": _jobs(facts, document),
            "runs_known": document.runs_known,
        }
    )


def _jobs(facts: Facts, document: DesiredDocument) -> dict[str, JobRecord]:
    """The jobs that are wanted, and the others until all that they did is known."""
    wanted = {key_text(instance.key) for instance in document.instances}
    kept = {
        text: record.model_copy(update={"ended": bounded(record.ended, known=document.runs_known)})
        for text, record in facts.jobs.items()
    }
    return {
        text: record
        for text, record in kept.items()
        if text in wanted or record.under_way or any(run.serial > document.runs_known for run in record.ended)
    }


def _remembered(ports: dict[str, dict[str, int]], wanted: set[str]) -> dict[str, dict[str, int]]:
    """The ports of wanted slots, and of the newest others: a replacement may come some documents after its predecessor went."""
    others = [text for text in ports if text not in wanted][-PORTS_REMEMBERED:]
    return {text: held for text, held in ports.items() if text in wanted or text in others}


def _ordered(record: InstanceRecord, instance: DesiredInstance) -> InstanceRecord:
    """An instance that is wanted stopped begins afresh when it is wanted running again, however it ended."""
    if instance.desired is not DesiredState.STOPPED:
        return record
    return InstanceRecord(
        key=record.key,
        restarts=record.restarts,
        was_made=record.was_made,
        admitted=record.admitted,
        stopped_by_us=True,
        last_exit=record.last_exit,
    )
