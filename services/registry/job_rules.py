"""What is recorded of a job's runs, and which instance is asked for one.  Pure.

A run is named by what asked for it (`run_id`: the instant of its schedule, or the request) and by the instance that made it.  The first
instance to tell of a `run_id` has made the run; what another one tells of the same is kept and marked as a duplicate: it comes from a node
that was thought lost.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lattice.contracts.messages import RunRequest
from lattice.contracts.nouns import JobRun, JobRunState, RunTrigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A run as it is on record; `instance_id` is None until an instance has taken the request."""

    id: str
    run_id: str
    instance_id: str | None
    trigger: RunTrigger
    revision: int
    state: JobRunState
    scheduled_at: datetime
    duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An instance that may be asked for a run."""

    instance_id: str
    revision: int
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What a report changes: the record that is brought up to date (None: a new one), and those that turn out to be duplicates."""

    record_id: str | None
    duplicate: bool = False
    superseded: tuple[str, ...] = ()
    is_news: bool = True


def fold_run(seen: JobRun, known: Sequence[Recorded], *, live: Collection[str]) -> Folded:
    """What becomes of a report about one run; `known` are the records of its `run_id`, `live` the instances that still count."""
    mine = next((each for each in known if each.instance_id == seen.instance_id), None)
    if mine is not None:
        is_news = not mine.state.ended or (seen.state.ended and seen.state is not mine.state)
        return Folded(record_id=mine.id, duplicate=mine.duplicate, is_news=is_news)
    asked = next((each for each in known if each.instance_id is None), None)
    if asked is not None:
        return Folded(record_id=asked.id)
    others = [each for each in known if not each.duplicate]
    if not others:
        return Folded(record_id=None)
    given_up = all(not each.state.ended and each.instance_id not in live for each in others)
    if given_up and seen.instance_id in live:  # it was asked for again, elsewhere
        return Folded(record_id=None, superseded=tuple(each.id for each in others))
    return Folded(record_id=None, duplicate=True)


def requests_for(place: Place, known: Sequence[Recorded], *, lost: Collection[str]) -> tuple[RunRequest, ...]:
    """The runs that an instance is asked for; `lost` are the instances whose node is away for good."""
    wanted = [each for each in known if _is_for(place, each, lost)]
    return tuple(
        RunRequest(run_id=each.run_id, trigger=each.trigger, requested_at=each.scheduled_at)
        for each in sorted(wanted, key=lambda each: each.id)
    )


def _is_for(place: Place, each: Recorded, lost: Collection[str]) -> bool:
    if each.trigger is RunTrigger.SCHEDULE or each.state.ended or each.duplicate:
        return False
    if each.instance_id is not None and each.instance_id not in lost:
        return each.instance_id == place.instance_id
    fits = each.trigger is not RunTrigger.DEPLOY or each.revision == place.revision
    return place.is_current and fits


def changes_of(seen: JobRun) -> dict[str, Any]:
    """The columns that a report says."""
    return {
        "state": seen.state,
        "reason": seen.reason,
        "attempts": seen.attempts,
        "started_at": seen.started_at,
        "finished_at": seen.finished_at,
        "exit_code": seen.exit_code,
        "container_id": seen.container_id,
        "last_log": list(seen.last_log),
    }
