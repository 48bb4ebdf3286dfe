"""`job run`, `job runs`, `job logs`: what runs to its end, now or as its schedule says."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import LinesOption, TimeoutOption, TimestampsOption, WaitOption, command, group
from cli.commands.reading import NameArgument
from cli.errors import CliError
from cli.session import Session

Json = dict[str, Any]
RunArgument = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="From `lattice job runs`; the newest, if left out.")
]


def register(app: typer.Typer) -> None:
    job = group("job", summary="Jobs: what runs to its end.")
    app.add_typer(job)
    command(job, "run", example="lattice job run nightly-report")(run)
    command(job, "runs", example="lattice job runs nightly-report")(runs)
    command(job, "logs", example="lattice job logs nightly-report")(logs)


def run(
    session: Session, name: NameArgument, *, wait: WaitOption = True, timeout: TimeoutOption = "10m"
) -> None:
    """Run a job now, whatever its schedule says; fails if the run does."""
    from cli import job_text
    from cli.times import parse_duration_s

    timeout_s = parse_duration_s(timeout)
    asked = session.client.post(path_of("workloads", name, "runs"), project=session.project)
    found = _until_ended(session, name, asked, timeout_s=timeout_s) if wait else asked
    if not session.screen.data(found):
        session.screen.say(_said(name, found, wait=wait))
        session.screen.hint(f"lattice job logs {name} {found['id']}", f"lattice job runs {name}")
    if not wait or found["state"] == "succeeded":
        return
    if found["state"] in job_text.ENDED:
        raise job_text.failure(name, found)
    raise job_text.still_running(name, found, timeout_s=timeout_s)


def _said(name: str, found: Json, *, wait: bool) -> str:
    return f"Run {found['id']} of {name} {found['state'] if wait else 'was accepted'}."


def _until_ended(session: Session, name: str, asked: Json, *, timeout_s: float) -> Json:
    """The run once it has ended, or as it is after `timeout_s`."""
    from cli import job_text, waiting
    from cli.progress import display

    start, found = time.monotonic(), asked
    with display(session, f"Running {name}") as show:
        while found["state"] not in job_text.ENDED:
            waited_s = time.monotonic() - start
            if waited_s >= timeout_s:
                break
            show(str(found.get("reason") or found["state"]), waited_s)
            time.sleep(min(waiting.poll_pause_s(waited_s), timeout_s - waited_s))
            found = _find(session, name, asked["id"])
    return found


def runs(session: Session, name: NameArgument) -> None:
    """List the runs of a job, newest first: why each began, how it ended."""
    from cli.job_text import COLUMNS

    data = session.client.listing(path_of("workloads", name, "runs"), project=session.project)
    session.screen.listing(data, COLUMNS, empty=f"{name} has not run yet.")


def logs(
    session: Session,
    name: NameArgument,
    run: RunArgument = None,
    *,
    lines: LinesOption = "all",
    timestamps: TimestampsOption = False,
) -> None:
    """Show what one run of a job wrote, oldest line first."""
    from cli import log_pages, log_text

    found = _find(session, name, run)
    if not found.get("container_id"):
        session.screen.note(f"Run {found['id']} of {name} is {found['state']}: it has written nothing.")
        return
    wanted = log_pages.Wanted(
        path=path_of("workloads", name, "logs"),
        parameters={"project": session.project, "source": found["container_id"]},
        count=log_pages.read_count(lines),
    )
    printer = log_text.LogPrinter(session.screen, timestamps=timestamps)
    for line in log_pages.newest(session.client, wanted):
        printer.show(line)
    session.screen.flush()
    if not printer.shown:
        session.screen.note(f"Run {found['id']} of {name} has written nothing yet.")


def _find(session: Session, name: str, run: str | None) -> Json:
    """A run by its id; the newest that was not skipped, where none is named."""
    data = session.client.listing(path_of("workloads", name, "runs"), project=session.project)
    fits = [each for each in data["items"] if (each["id"] == run if run else each["state"] != "skipped")]
    if not fits:
        what = f"no run {run!r}" if run else "not run yet"
        raise CliError(f"{name} has {what}.", todo=f"lattice job runs {name}")
    found: Json = fits[0]
    return found
