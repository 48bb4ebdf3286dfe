"""What the agent remembers of jobs: which times are dealt with, which runs are under way, and how the newest ones ended."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import Field

from lattice.contracts.nouns import ContainerKey, JobRun, JobRunState, Noun, RunTrigger

# Ended runs that the registry knows of are kept for what `show` says, and so that none is begun twice.
KEPT_KNOWN = 20
# Those that it does not know of yet; with more the oldest are given up.
KEPT_UNTOLD = 200
# What one report carries at most; the rest follows when these are known.
TOLD_AT_ONCE = 50


class RunRecord(Noun):
    """A run that is under way; `cut` says why we end it, `not_before` when a failed attempt is followed by the next."""

    run: JobRun
    cut: str = ""
    not_before: datetime | None = None
    noticed_exit: str = Field("", description="which exit was already counted: container and time")


class JobRecord(Noun):
    """What is remembered of one instance of a job."""

    key: ContainerKey
    handled_at: datetime
    under_way: tuple[RunRecord, ...] = ()
    ended: tuple[JobRun, ...] = ()

    @property
    def runs(self) -> tuple[JobRun, ...]:
        """Every run that is remembered."""
        return (*self.ended, *(each.run for each in self.under_way))

    @property
    def last(self) -> JobRun | None:
        """The newest run that has ended and was not skipped."""
        done = [run for run in self.ended if run.state is not JobRunState.SKIPPED]
        return done[-1] if done else None

    def knows(self, run_id: str) -> bool:
        """Whether a run was begun or dealt with already."""
        return any(run.run_id == run_id for run in self.runs)


def run_id_at(instant: datetime) -> str:
    """The name of the run that a schedule asks for at an instant."""
    return instant.strftime("%Y%m%dT%H%MZ")


def scheduled_run(record: JobRecord, instance_id: str, instant: datetime) -> JobRun:
    """The run that a schedule asks for."""
    return JobRun(
        run_id=run_id_at(instant),
        key=record.key,
        instance_id=instance_id,
        trigger=RunTrigger.SCHEDULE,
        scheduled_at=instant,
    )


def bounded(ended: Iterable[JobRun], *, known: int) -> tuple[JobRun, ...]:
    """The ended runs that are kept, oldest first: enough of those that are known, and more of those that are not."""
    runs = sorted(ended, key=lambda run: run.serial)
    told = [run for run in runs if run.serial <= known][-KEPT_KNOWN:]
    untold = [run for run in runs if run.serial > known][-KEPT_UNTOLD:]
    return tuple(told + untold)


def untold(records: Iterable[JobRecord], *, known: int) -> tuple[JobRun, ...]:
    """What the next report says of runs, oldest change first."""
    found = [run for record in records for run in record.runs if run.serial > known]
    runs = sorted(found, key=lambda run: run.serial)
    # What is known is said by one number, so changes of the same number are told together.
    last = runs[min(len(runs), TOLD_AT_ONCE) - 1].serial if runs else 0
    return tuple(run for run in runs if run.serial <= last)
