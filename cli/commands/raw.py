"""`api` and `audit`: any request as it is, and who did what."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import command, group
from cli.session import Session


def register(app: typer.Typer) -> None:
    audit = group("audit", summary="Who did what.")
    app.add_typer(audit)
    command(audit, "ls", in_project=False, example="lattice audit ls --actor user:ada")(list_audit)
    command(app, "api", in_project=False, example=_EXAMPLE)(api)


_EXAMPLE = """lattice api GET /v1/nodes
lattice api POST /v1/projects -d '{"name": "shop"}'"""


def list_audit(
    session: Session,
    *,
    actor: Annotated[
        str | None, typer.Option(metavar="WHO", help="Only of this actor.", show_default=False)
    ] = None,
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Only this action.", show_default=False)
    ] = None,
    count: Annotated[int, typer.Option("--lines", "-n", min=1, max=500, help="The newest N rows.")] = 50,
) -> None:
    """List who did what, newest first."""
    from cli.tables import Column, field
    from cli.times import ago

    columns = (
        Column("AGE", lambda a, now: ago(a.get("at"), now=now)),
        field("ACTOR", "actor"),
        field("ACTION", "action", whole=True),
        Column("ON", lambda a, _now: f"{a['entity']} {a.get('entity_name') or a['entity_id']}"),
        field("PROJECT", "project", leave_out=1),
        field("REQUEST", "request_id", leave_out=2),
    )
    data = session.client.get(path_of("audit"), actor=actor, action=action, page_size=count)
    session.screen.listing(data, columns, empty="No such rows.")


def api(
    session: Session,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, …")],
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="With its query, such as '/v1/workloads?project=shop'.")
    ],
    *,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", "-d", metavar="JSON", help="The body; @FILE reads a file, - stdin.", show_default=False
        ),
    ] = None,
) -> None:
    """Send any request with your credentials and print the answer as it is."""
    from cli.errors import ExitCode, usage

    if not path.startswith("/"):
        raise usage(f"{path!r} is not a path.", todo="begin it with /, as in /v1/nodes")
    response = session.client.exchange(method.upper(), path, body=_body(data))
    session.screen.raw(response.content)
    if not response.is_success:
        session.screen.warn(f"{method.upper()} {path}: {response.status_code}")
        raise typer.Exit(ExitCode.FAILED)


def _body(data: str | None) -> Any:
    import json

    from cli.errors import usage
    from cli.yaml_files import read_text

    if data is None:
        return None
    text = sys.stdin.read() if data == "-" else read_text(data[1:]) if data.startswith("@") else data
    try:
        return json.loads(text)
    except ValueError as error:
        raise usage(f"The body is not JSON: {error}.") from error
