"""`logs`: the newest lines of workloads, any number of them, and the ones that come."""

from __future__ import annotations

from collections import deque
from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import LinesOption, TimestampsOption, command
from cli.session import Session

Texts = list[str] | None


def register(app: typer.Typer) -> None:
    command(
        app,
        "logs",
        example="lattice logs orders-db -f\nlattice logs orders-db --since 1h --grep ERROR -n all\n"
        "lattice logs shop worker -f --level warn\nlattice logs --platform --level error --since 1d",
    )(logs)


def logs(
    session: Session,
    names: Annotated[
        Texts,
        typer.Argument(
            metavar="[NAME]...",
            help="Workloads, also removed ones; without any, all of the project.",
            show_default=False,
        ),
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with the lines that come.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not older than this: 15m, 1h, or a time.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Not younger than this.")] = None,
    grep: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only lines that contain this text.")
    ] = None,
    word: Annotated[
        str | None,
        typer.Option("--word", "-w", metavar="TEXT", help="The same, not as a part of longer words."),
    ] = None,
    regex: Annotated[
        str | None, typer.Option(metavar="RE2", help="Only lines in which this expression is found.")
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            metavar="LEVEL", help="Only lines so grave or graver: trace, debug, info, warn, error, fatal."
        ),
    ] = None,
    field: Annotated[
        Texts, typer.Option(metavar="NAME=VALUE", help="Only lines that are JSON objects with this field.")
    ] = None,
    stream: Annotated[str | None, typer.Option(metavar="stdout|stderr", help="Only this stream.")] = None,
    node: Annotated[Texts, typer.Option(metavar="NODE", help="Only lines from this node.")] = None,
    instance: Annotated[Texts, typer.Option(metavar="ID", help="Only lines of this instance.")] = None,
    platform: Annotated[
        bool,
        typer.Option(
            "--platform",
            help="What the platform says of itself; then NAME is registry, agent or another part.",
        ),
    ] = False,
    lines: LinesOption = "100",
    timestamps: TimestampsOption = False,
) -> None:
    """Show logs, oldest line first; of several workloads in the order of time."""
    from cli import log_pages, log_text
    from cli.errors import usage
    from cli.times import moment

    if follow and until:
        raise usage("--follow and --until exclude each other.")
    now, chosen = session.screen.now(), names or []
    parameters = {
        "project": session.project,
        "since": moment(since, now=now) if since else None,
        "until": moment(until, now=now) if until else None,
        "grep": grep or None,
        "word": word or None,
        "regex": regex or None,
        "level": level,
        "field": field,
        "stream": stream,
        "node": node,
        "instance": instance,
    }
    wanted = log_pages.Wanted(*_place(chosen, parameters, platform=platform), log_pages.read_count(lines))
    printer = log_text.LogPrinter(
        session.screen, timestamps=timestamps, workloads=platform or len(chosen) != 1
    )
    past = deque[log_pages.Line](maxlen=log_pages.REMEMBERED)
    for line in log_pages.newest(session.client, wanted):
        printer.show(line)
        past.append(line)
    session.screen.flush()
    if follow:
        log_pages.follow(session.client, wanted, past, show=printer.show_now, note=session.screen.note)
    elif not past:
        session.screen.note(_nothing(chosen, parameters))


def _place(names: list[str], parameters: dict[str, Any], *, platform: bool) -> tuple[str, dict[str, Any]]:
    """Where to ask: one workload has its own place, which knows whether there is, or was, such a workload."""
    if platform:
        return path_of("platform", "logs"), {**parameters, "project": None, "part": names or None}
    if len(names) == 1:
        return path_of("workloads", names[0], "logs"), parameters
    return path_of("logs"), {**parameters, "workload": names or None}


def _nothing(names: list[str], parameters: dict[str, Any]) -> str:
    who = " and ".join(names) or "Nothing in this project"
    restricted = any(value for name, value in parameters.items() if name != "project")
    if not names:
        return f"{who} has written anything{' that matches' if restricted else ' yet'}."
    have = "has" if len(names) == 1 else "have"
    return f"{who} {have} written nothing{' that matches' if restricted else ' yet'}."
