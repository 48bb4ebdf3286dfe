"""Exits and failures that the Docker Engine's own restart caused: they say nothing about a workload.  Pure.

An Engine that is ended stops its containers while it still answers, so such an exit may be counted before anybody knows that the Engine is
going away; one that is killed takes its containers along when it starts again.  So an outage reaches from a while before the last answer to
the first one afterwards, and what fell into it is forgiven when the Engine is back.  A crash of the workload's own in that time is forgiven too:
it costs one start without a pause, and what was counted before stays counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.facts import Facts, InstanceRecord

# dockerd gives its containers 15 s to end when it is ended itself (its --shutdown-timeout), and some seconds pass around that.
SHUTDOWN = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which the Engine was going, away, or coming back."""

    since: datetime
    until: datetime

    def covers(self, at: datetime | None) -> bool:
        """Whether something that happened then was the Engine's doing."""
        return at is not None and self.since <= at <= self.until


def outage(*, answered_at: datetime, back_at: datetime) -> Outage:
    """The outage between the Engine's last answer and its first new one."""
    return Outage(since=answered_at - SHUTDOWN, until=back_at)


def forgive(facts: Facts, of: Outage) -> Facts:
    """The facts without what the outage did: whatever it ended or kept from starting is due at once."""
    for record in facts.records.values():
        facts = facts.with_record(_forgiven(record, of))
    return facts


def _forgiven(record: InstanceRecord, of: Outage) -> InstanceRecord:
    kept = tuple(at for at in record.recent_exits if not of.covers(at))
    exits = len(record.recent_exits) - len(kept)
    failed = record.failure is not None and not record.failure.final and of.covers(record.noticed_at)
    gave_up = not exits and record.dead is not None and of.covers(record.dead.noted_at)
    if not exits and not failed:
        return record.model_copy(update={"dead": None}) if gave_up else record
    crashes = max(0, record.crashes - exits)
    return record.model_copy(
        update={
            "crashes": crashes,
            "failures": max(0, record.failures - failed),
            "failure": None if failed else record.failure,
            "dead": None if gave_up else record.dead,
            "recent_exits": kept,
            "failing_since": record.failing_since if crashes else None,
            "delay_s": record.delay_s / 2**exits if crashes else 0.0,  # each exit had doubled it
            "noticed_at": None,
            "not_before": None,
        }
    )
