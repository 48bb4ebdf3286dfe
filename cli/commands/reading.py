"""`ps`, `show`, `events`: what runs, how it is, and what happened to it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import command
from cli.session import Session

Json = dict[str, Any]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A workload's name or id.")]
NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names or ids of workloads.")]
EVERY_PROJECT = "*"


def register(app: typer.Typer) -> None:
    command(app, "ps", example="lattice ps\nlattice ps -o json")(ps)
    command(app, "show", example="lattice show orders-db")(show)
    command(app, "events", example="lattice events orders-db\nlattice events -f")(events)


def ps(
    session: Session,
    *,
    all_projects: Annotated[
        bool, typer.Option("--all-projects", "-A", help="Of every project that you can see.")
    ] = False,
) -> None:
    """List the workloads."""
    from cli.tables import field
    from cli.workload_text import columns_of

    project = EVERY_PROJECT if all_projects else session.project
    data = session.client.listing(path_of("workloads"), project=project)
    columns = columns_of(data["items"])
    if project == EVERY_PROJECT:
        columns = (field("PROJECT", "project", whole=True), *columns)
    session.screen.listing(
        data,
        columns,
        empty="Nothing is deployed in this project yet. Try `lattice deploy postgres --name orders-db`.",
    )


def show(session: Session, name: NameArgument) -> None:
    """Show a workload: state, instances, addresses, and why it has no place or failed."""
    from cli import workload_text

    workload = session.client.get(path_of("workloads", name), project=session.project)
    if not session.screen.data(workload):
        workload_text.show(session.screen, workload, now=session.screen.now())


def events(
    session: Session,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only of this workload.")] = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")
    ] = False,
    after: Annotated[
        int | None, typer.Option(metavar="SEQ", help="Only what came after this event.", show_default=False)
    ] = None,
    count: Annotated[int, typer.Option("--lines", "-n", min=1, help="Look at the newest N events.")] = 200,
) -> None:
    """List what happened in the project or to one workload, oldest first."""
    from cli import fact_text

    newest = fact_text.head(session) if follow or name is None else 0
    if name is None:
        ours = None
        facts = fact_text.since(session, max(newest - count, 0) if after is None else after)
    else:
        ours = session.client.get(path_of("workloads", name), project=session.project)["id"]
        facts = fact_text.of_one(session, "workloads", name, count=count)
        facts["items"] = [fact for fact in facts["items"] if fact["seq"] > (after or 0)]
    fact_text.print_past(session, facts, follow=follow)
    if follow:
        fact_text.follow(session, after=max(newest, *(f["seq"] for f in facts["items"]), 0), workload_id=ours)
