"""How jobs and their runs look to people.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cli.errors import CliError, ExitCode
from cli.tables import Column, field
from cli.times import ago, parse_time, short_duration

Json = Mapping[str, Any]
ENDED = ("succeeded", "failed", "skipped")


def is_job(workload: Json) -> bool:
    return bool(workload["spec"].get("kind") == "job")


def schedule_line(workload: Json) -> str:
    """`0 3 * * * (Europe/Berlin)`; nothing for what has no schedule."""
    schedule = workload["spec"].get("schedule")
    return f"{schedule['cron']} ({schedule['timezone']})" if schedule else ""


def next_line(workload: Json, *, now: datetime) -> str:
    """`2026-03-01T02:00:00Z (in 3h)`; nothing where no run is due."""
    at = workload.get("next_run_at")
    return f"{at} (in {ago(at, now=now)})" if at else ""


def accepted_line(workload: Json, *, where: str, now: datetime) -> str:
    """What is said when a job was deployed: its runs have yet to show whether it works."""
    at = next_line(workload, now=now)
    node = f" on {where}" if where else ""
    return f"{workload['name']} was accepted{node}; {f'it runs next at {at}' if at else 'it runs once'}."


def last_line(workload: Json, *, now: datetime) -> str:
    """`failed 3m ago: exited with 7`; nothing before the first run."""
    run = workload.get("last_run")
    if not run:
        return ""
    if run["state"] not in ENDED:
        return str(run["state"])
    why = f": {run['reason']}" if run.get("reason") else ""
    return f"{run['state']} {ago(run.get('finished_at'), now=now)} ago{why}"


def took(run: Json, *, now: datetime) -> str:
    """How long a run took, or has taken so far."""
    if not run.get("started_at"):
        return "-"
    end = parse_time(run["finished_at"]) if run.get("finished_at") else now
    return short_duration(max(0.0, (end - parse_time(run["started_at"])).total_seconds()))


def why(run: Json) -> str:
    """What there is to say of a run beside its state."""
    notes = [str(run["reason"])] if run.get("reason") else []
    if run.get("duplicate"):
        notes.append("duplicate, from a node that was thought lost")
    return "; ".join(notes)


COLUMNS = (
    field("RUN", "id", whole=True),
    field("STATE", "state", whole=True),
    field("TRIGGER", "trigger", leave_out=2),
    Column("DUE", lambda r, now: f"{ago(r.get('scheduled_at'), now=now)} ago"),
    Column("TOOK", lambda r, now: took(r, now=now), right=True, leave_out=1),
    Column("EXIT", lambda r, _now: "" if r.get("exit_code") is None else r["exit_code"], right=True),
    field("TRIES", "attempts", right=True, leave_out=4),
    field("NODE", "node", leave_out=3),
    Column("WHY", lambda r, _now: why(r)),
)


def failure(workload: str, run: Json) -> CliError:
    """What is said where a run that was waited for did not succeed."""
    lines = [f"  {line}" for line in run.get("last_log") or ()]
    shown = "\n".join(["", "Its last lines:", *lines]) if lines else ""
    return CliError(
        f"Run {run['id']} of {workload} {run['state']}: {why(run) or 'no reason given'}.{shown}",
        todo=f"lattice job logs {workload} {run['id']}",
    )


def still_running(workload: str, run: Json, *, timeout_s: float) -> CliError:
    """What is said where a run has not ended in time."""
    return CliError(
        f"Run {run['id']} of {workload} is {run['state']} after {short_duration(timeout_s)}; it goes on.",
        todo=f"lattice job runs {workload}",
        exit_code=ExitCode.TIMED_OUT,
    )
