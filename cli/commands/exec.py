"""`exec`: a command inside a running instance, as if it ran here: input, output, window size, exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli.client_paths import path_of
from cli.command import command
from cli.commands.reading import NameArgument
from cli.errors import usage
from cli.exec_frames import Request
from cli.session import Session


def register(app: typer.Typer) -> None:
    command(app, "exec", example=_EXAMPLE)(run_in)


_EXAMPLE = """lattice exec orders-db -- psql -U postgres
lattice exec orders-db -- pg_dump orders > orders.sql"""


def run_in(
    session: Session,
    name: NameArgument,
    argv: Annotated[list[str], typer.Argument(metavar="-- CMD [ARG...]", show_default=False)],
    *,
    slot: Annotated[
        int | None, typer.Option(min=0, help="In which replica; default: the first.", show_default=False)
    ] = None,
    stdin: Annotated[
        bool | None, typer.Option("--stdin/--no-stdin", "-i/-I", help="Pass stdin on.", show_default=False)
    ] = None,
    tty: Annotated[
        bool | None, typer.Option("--tty/--no-tty", "-t/-T", help="On a terminal.", show_default=False)
    ] = None,
) -> None:
    """Run a command inside a workload and exit with its code.

    On a terminal it gets one, and your input; elsewhere ask with -i and -t.
    """
    from cli import terminal

    here = sys.stdin.isatty() and sys.stdout.isatty()
    with_tty, with_stdin = tty_and_stdin(tty=tty, stdin=stdin, here=here, stdin_is_tty=sys.stdin.isatty())
    rows, columns = terminal.size()
    request = Request(tuple(argv), slot=slot, tty=with_tty, stdin=with_stdin, rows=rows, columns=columns)
    raise typer.Exit(_run(session, name, request, raw=with_tty and with_stdin and sys.stdin.isatty()))


def tty_and_stdin(
    *, tty: bool | None, stdin: bool | None, here: bool, stdin_is_tty: bool
) -> tuple[bool, bool]:
    """Whether the command gets a terminal and our input: what was asked for, else both on a terminal and neither elsewhere."""
    if tty and stdin and not stdin_is_tty:
        raise usage("-i -t needs a terminal as input.", todo="leave out -t to pipe something in")
    with_tty = here and stdin is not False if tty is None else tty
    return with_tty, here and tty is not False if stdin is None else stdin


def _run(session: Session, name: str, request: Request, *, raw: bool) -> int:
    import asyncio

    from cli import exec_session

    path, query = path_of("workloads", name, "exec"), {"project": session.project}
    return asyncio.run(exec_session.run(session.client, path, query, request, raw=raw))
