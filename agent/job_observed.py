"""How a job's instance looks from outside: `running` while a run is under way, else at rest, which is as it ought to be.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.facts import InstanceRecord
from agent.job_facts import JobRecord
from lattice.contracts.messages import DesiredInstance
from lattice.contracts.nouns import DesiredState, Health, JobRunState, Phase, RunTrigger
from lattice.runtime import Container


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLook:
    """The facts of a job's instance; `container` is the one of its newest run."""

    phase: Phase
    health: Health = Health.UNKNOWN
    reason: str = ""
    ended: bool = False
    container: Container | None = None


def look_at_job(
    instance: DesiredInstance,
    containers: Mapping[str, Container],
    job: JobRecord | None,
    record: InstanceRecord,
    *,
    pulling: bool,
) -> JobLook:
    """How it stands; `containers` are those of its runs, by run id."""
    newest = _newest(containers, job)
    is_up = any(container.is_up for container in containers.values())
    if instance.desired is DesiredState.STOPPED:
        phase, reason = (Phase.STOPPING, "being stopped") if is_up else (Phase.STOPPED, "stopped as ordered")
        return JobLook(phase=phase, reason=reason, container=newest)
    if is_up:
        return JobLook(phase=Phase.RUNNING, health=Health.HEALTHY, container=newest)
    if job is None:
        return JobLook(phase=Phase.PENDING)
    if job.under_way:
        reason = record.failure.reason if record.failure else job.under_way[-1].run.reason
        phase = Phase.PULLING if pulling else Phase.STARTING
        return JobLook(phase=phase, reason=reason, container=newest)
    return _at_rest(instance, job, newest)


def _at_rest(instance: DesiredInstance, job: JobRecord, newest: Container | None) -> JobLook:
    """A run that failed is the run's failure, not the job's; only what was to run once, and failed then, has failed as a whole."""
    last = job.last
    failed = last is not None and last.state is JobRunState.FAILED
    reason = f"its last run failed: {last.reason}" if failed and last else ""
    once = instance.run.job is not None and instance.run.job.schedule is None
    if failed and once and last is not None and last.trigger is RunTrigger.DEPLOY:
        return JobLook(phase=Phase.FAILED, reason=last.reason, ended=True, container=newest)
    return JobLook(phase=Phase.STOPPED, reason=reason, ended=True, container=newest)


def _newest(containers: Mapping[str, Container], job: JobRecord | None) -> Container | None:
    runs = job.runs if job else ()
    return next((containers[run.run_id] for run in reversed(runs) if run.run_id in containers), None)
