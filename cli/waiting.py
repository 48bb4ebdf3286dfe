"""What to tell a person who waits for an operation.  Pure: the operation and its workload as REST shows them in, one line out.

The operation says whether it is over; the workload says what its instances are doing meanwhile.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cli.errors import CliError, ExitCode, Refused
from cli.times import elapsed

Json = Mapping[str, Any]

ENDED = ("succeeded", "failed", "cancelled")
_POLL_FIRST_S, _POLL_MAX_S = 0.15, 1.0
_LAST_WORDS = 10
_DIGITS = re.compile(r"[\d.]+")


def poll_pause_s(waited_s: float) -> float:
    """Looks often at first, when most things end, and seldom later."""
    return min(max(_POLL_FIRST_S, waited_s / 10), _POLL_MAX_S)


def has_ended(operation: Json) -> bool:
    return operation["state"] in ENDED


def describe(operation: Json, workload: Json | None) -> str:
    """Where the operation stands: `pulling postgres:16: 41 %`, `2 of 3 running, 1 starting`, `no node fits: …`."""
    stated = str(operation.get("progress") or "")
    percent = operation.get("percent")
    if stated and percent and "%" not in stated:  # "starting: 0 %" says less than "starting"
        stated = f"{stated}: {percent} %"
    seen = _instances_line((workload or {}).get("instances") or ())
    return _unplaced_line(workload) or stated or seen or str(operation["state"])


def _instances_line(instances: Sequence[Json]) -> str:
    if not instances:
        return ""
    if len(instances) == 1:
        return _instance_line(instances[0])
    states = Counter(str(instance["state"]) for instance in instances)
    running = states.pop("running", 0)
    rest = [f"{count} {state}" for state, count in states.items()]
    return ", ".join([f"{running} of {len(instances)} running", *rest])


def _instance_line(instance: Json) -> str:
    progress = str(instance.get("progress") or "")
    where = f" on {instance['node']}" if instance.get("node") else ""
    return progress or f"{instance['state']}{where}"


def unplaced(workload: Json | None) -> list[Json]:
    """The instances that no node takes, each with its reasons."""
    return [place for place in (workload or {}).get("placement") or () if place.get("node") is None]


def _unplaced_line(workload: Json | None) -> str:
    places = unplaced(workload)
    return f"no place yet: {places[0].get('reason') or 'the scheduler has not looked'}" if places else ""


def step_of(line: str) -> str:
    """The line without its numbers: where nothing can be overwritten, a new line is printed only when this changes."""
    return _DIGITS.sub("", line)


def failure(operation: Json, workload: Json | None, *, what: str) -> CliError:
    """Why an operation that ended did not succeed."""
    name = operation.get("subject_name") or operation.get("subject_id") or ""
    problem = operation.get("problem") or {}
    if operation["state"] == "cancelled":
        return CliError(f"{what} was cancelled.", todo=f"`lattice show {name}` shows what is there now")
    return Refused(
        f"{what} failed.",
        status=0,
        code=str(problem.get("code") or ""),
        why=str(problem.get("detail") or operation.get("progress") or "the platform gave no reason"),
        details=(*_place_lines(workload), *(_problem_lines(problem) or _last_log_lines(workload))),
        todo=_next_look(operation, name),
    )


def ended_badly(workload: Json) -> CliError:
    """Of a workload that was as wanted when its operation succeeded, and has failed since."""
    reasons = [str(each["reason"]) for each in workload.get("instances") or () if each.get("reason")]
    name = workload["name"]
    return CliError(
        f"{name} has failed since it started.",
        why=reasons[0] if reasons else "",
        details=tuple(_last_log_lines(workload)),
        todo=f"`lattice show {name}` and `lattice logs {name}` tell more",
    )


def _next_look(operation: Json, name: object) -> str:
    if operation.get("subject_kind") == "node":
        return f"`lattice node show {name}`"
    return f"`lattice show {name}` and `lattice logs {name}` tell more"


def _problem_lines(problem: Json) -> list[str]:
    return [f"│ {line}" for line in problem.get("log") or ()][-_LAST_WORDS:]


def _last_log_lines(workload: Json | None) -> list[str]:
    instances = (workload or {}).get("instances") or ()
    with_log = [
        instance for instance in instances if instance.get("last_log") and instance["state"] != "running"
    ]
    return [
        f"{instance['id']} │ {line}"
        for instance in with_log[:1]
        for line in instance["last_log"][-_LAST_WORDS:]
    ]


def _place_lines(workload: Json | None) -> list[str]:
    return [
        f"{rejected['node']}: {rejected['reason']}"
        for place in unplaced(workload)[:1]
        for rejected in place.get("rejected") or ()
    ]


def still_working(operation: Json, workload: Json | None, *, what: str, timeout_s: float) -> CliError:
    """The waiting is over, the work is not."""
    return CliError(
        f"{what} is not done after {elapsed(timeout_s)}; the work goes on.",
        why=describe(operation, workload),
        details=tuple(_place_lines(workload)),
        todo=f"`lattice op wait {operation['id']}` waits on, `lattice op cancel {operation['id']}` ends it",
        exit_code=ExitCode.TIMED_OUT,
    )


def no_longer_watching(operation: Json, *, what: str) -> CliError:
    """The person pressed Ctrl-C."""
    return CliError(
        f"Stopped waiting; {what[:1].lower()}{what[1:]} goes on.",
        todo=f"`lattice op wait {operation['id']}` waits on, `lattice op cancel {operation['id']}` ends it",
        exit_code=ExitCode.INTERRUPTED,
    )
