"""`stats`: what workloads, or nodes, take right now."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client_paths import path_of
from cli.command import command
from cli.commands.reading import EVERY_PROJECT
from cli.session import Session


def register(app: typer.Typer) -> None:
    command(app, "stats", example="lattice stats\nlattice stats orders-db\nlattice stats --node")(stats)


def stats(
    session: Session,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only this workload, or with --node this node.")
    ] = None,
    *,
    node: Annotated[bool, typer.Option("--node", help="Of nodes, not of workloads.")] = False,
    all_projects: Annotated[
        bool, typer.Option("--all-projects", "-A", help="Of every project that you can see.")
    ] = False,
) -> None:
    """Show what each instance takes now: processor, memory, network, restarts; and its processor time of the last hour."""
    from cli.stats_text import columns_of, empty, only

    if node:
        found = only(session.client.get(path_of("stats", "nodes")), name)
    elif name is None:
        project = EVERY_PROJECT if all_projects else session.project
        found = session.client.get(path_of("stats"), project=project)
    else:
        workload = session.client.get(path_of("workloads", name), project=session.project)
        found = session.client.get(path_of("stats"), project=session.project, workload=workload["id"])
    if session.screen.data(found):
        return
    items = found["nodes" if node else "instances"]
    if not items:
        session.screen.note(empty(name, node=node))
        return
    session.screen.table(columns_of(node=node, projects=all_projects), items)
    if found.get("more"):
        session.screen.note("There are more: name a workload or a project.")
