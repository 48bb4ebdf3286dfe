"""`logs`: the newest lines of a workload, any number of them, and the ones that come."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client_paths import path_of
from cli.command import LinesOption, TimestampsOption, command
from cli.commands.reading import NameArgument
from cli.session import Session


def register(app: typer.Typer) -> None:
    command(
        app,
        "logs",
        example="lattice logs orders-db -f\nlattice logs orders-db --since 1h --grep ERROR -n all",
    )(logs)


def logs(
    session: Session,
    name: NameArgument,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with the lines that come.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not older than this: 15m, 1h, or a time.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Not younger than this.")] = None,
    grep: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only lines that contain this text.")
    ] = None,
    lines: LinesOption = "100",
    timestamps: TimestampsOption = False,
) -> None:
    """Show a workload's log, oldest line first."""
    from cli import log_pages, log_text
    from cli.errors import usage
    from cli.times import moment

    if follow and until:
        raise usage("--follow and --until exclude each other.")
    now = session.screen.now()
    wanted = log_pages.Wanted(
        path=path_of("workloads", name, "logs"),
        project=session.project,
        since=moment(since, now=now) if since else None,
        until=moment(until, now=now) if until else None,
        grep=grep or None,
        count=log_pages.read_count(lines),
    )
    printer = log_text.LogPrinter(session.screen, timestamps=timestamps)
    past = log_pages.newest(session.client, wanted)
    for line in past:
        printer.show(line)
    session.screen.flush()
    if follow:
        log_pages.follow(
            session.client,
            wanted,
            past[-log_pages.REMEMBERED :],
            show=printer.show_now,
            note=session.screen.note,
        )
    elif not past:
        session.screen.note(
            f"{name} has written nothing{' that matches' if grep or since or until else ' yet'}."
        )
