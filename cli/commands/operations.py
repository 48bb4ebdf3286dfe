"""`op …`: what takes time: how far it is, waiting for it, ending it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import TimeoutOption, command, group
from cli.session import Session

OperationArgument = Annotated[str, typer.Argument(metavar="OPERATION", help="An operation's id.")]


def register(app: typer.Typer) -> None:
    op = group("op", summary="Operations: what takes time.")
    app.add_typer(op)
    command(op, "ls")(list_operations)
    command(op, "show", in_project=False)(show)
    command(op, "cancel", in_project=False)(cancel)
    command(op, "wait", in_project=False, example="lattice op wait op-… --timeout 10m")(wait)


def list_operations(session: Session) -> None:
    """List operations, newest first."""
    from cli.tables import Column, field
    from cli.times import ago

    columns = (
        field("ID", "id", whole=True),
        field("KIND", "kind"),
        field("OF", "subject_name"),
        field("STATE", "state", whole=True),
        Column("AGE", lambda o, now: ago(o.get("created_at"), now=now), leave_out=1),
        field("BY", "created_by", leave_out=3),
        Column(
            "PROGRESS",
            lambda o, _now: (o.get("problem") or {}).get("detail") or o.get("progress"),
            leave_out=2,
        ),
    )
    data = session.client.listing(path_of("operations"), project=session.project)
    session.screen.listing(data, columns, empty="No operations yet.")


def show(session: Session, operation: OperationArgument) -> None:
    """Show an operation."""
    _show(session, session.client.get(path_of("operations", operation)))


def _show(session: Session, found: dict[str, Any]) -> None:
    from cli.times import ago, parse_time

    if session.screen.data(found):
        return
    now, problem = session.screen.now(), found.get("problem") or {}
    session.screen.fields(
        (
            ("Id", found["id"]),
            ("Kind", found.get("kind")),
            ("Of", found.get("subject_name") or found.get("subject_id")),
            ("Project", found.get("project")),
            ("State", found["state"]),
            ("Progress", found.get("progress")),
            ("Why", problem.get("detail")),
            ("Result", found.get("result")),
            ("Started", f"{ago(found.get('created_at'), now=now)} ago by {found.get('created_by')}"),
            ("Deadline", found.get("deadline")),
            ("Ended", f"{ago(found['ended_at'], now=now)} ago" if found.get("ended_at") else ""),
        )
    )
    for line in found.get("log") or ():
        session.screen.say(f"{parse_time(line['at']).astimezone():%H:%M:%S}  {line['text']}")


def cancel(session: Session, operation: OperationArgument) -> None:
    """End an operation; what it has done so far is undone where that is possible."""
    answer = session.client.post(path_of("operations", operation, "cancel"))
    if not session.screen.data(answer):
        session.screen.say(f"{operation} is being cancelled.")
        session.screen.hint(f"lattice op show {operation}")


def wait(session: Session, operation: OperationArgument, *, timeout: TimeoutOption = "10m") -> None:
    """Wait until an operation has ended; exit with 1 if it failed, 3 if it takes longer."""
    from cli.progress import wait_for
    from cli.times import parse_duration_s

    timeout_s = parse_duration_s(timeout)
    found = session.client.get(path_of("operations", operation))
    what = f"{str(found.get('kind') or 'operation').capitalize()} {found.get('subject_name') or ''}".strip()
    _show(session, wait_for(session, found, what=what, timeout_s=timeout_s))
