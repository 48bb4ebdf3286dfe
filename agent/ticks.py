"""Which times of a schedule are to be acted on now.  Pure.

A time counts as met for a minute, so that an agent that is being restarted loses nothing; what is older was missed, because the machine or
the agent was off, and then `catch_up` decides.  The control plane plays no part: an agent needs only its journal and its clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from lattice import cron
from lattice.contracts.spec import CatchUp, ScheduleSpec

MET_FOR = timedelta(seconds=60)
# A clock that was this far ahead and was set right must not silence a schedule until it gets there again.
_AHEAD = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Due:
    """The times to run now, the newest one that was missed and is not made up for, and up to where the schedule is dealt with."""

    run: tuple[datetime, ...]
    missed: datetime | None
    handled_at: datetime


def due(schedule: ScheduleSpec, handled_at: datetime, now: datetime) -> Due:
    """What a schedule asks for, after all up to `handled_at` was dealt with."""
    if handled_at > now:
        return Due((), None, now if handled_at - now > _AHEAD else handled_at)
    if next_look(schedule, handled_at, now) > now:
        return Due((), None, handled_at)
    text, zone, met_from = schedule.cron, schedule.timezone, max(handled_at, now - MET_FOR)
    met = cron.between(text, zone, met_from, now)
    missed = cron.newest_between(text, zone, handled_at, met_from)
    newest = max([*met, *([missed] if missed else [])], default=handled_at)
    if missed is not None and not met and schedule.catch_up is CatchUp.LAST:
        return Due((missed,), None, newest)
    return Due(met, missed, newest)


def next_look(schedule: ScheduleSpec, handled_at: datetime, now: datetime) -> datetime:
    """When the schedule is to be looked at next."""
    return cron.next_after(schedule.cron, schedule.timezone, min(handled_at, now))
