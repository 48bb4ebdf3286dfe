"""`routes …`: where workloads are reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from cli.client_paths import path_of
from cli.command import command, group
from cli.session import Session


def register(app: typer.Typer) -> None:
    routes = group("routes", summary="Routes: the addresses of workloads.")
    app.add_typer(routes)
    command(routes, "ls", example="lattice routes ls")(list_routes)


def list_routes(session: Session) -> None:
    """List the addresses of workloads: public names, and ports on their nodes."""
    from cli.tables import Column, field

    columns = (
        field("URL", "url", whole=True),
        field("WORKLOAD", "workload", whole=True),
        field("PROTOCOL", "protocol", leave_out=2),
        Column("REACHED", lambda r, _now: _reached(r), leave_out=1),
        field("STATE", "state", whole=True),
    )
    workloads = session.client.listing(path_of("workloads"), project=session.project)["items"]
    data = {
        "items": [_row(workload, route) for workload in workloads for route in workload["routes"]],
        "next_page_token": None,
    }
    session.screen.listing(
        data,
        columns,
        empty="No workload of this project has an address. Give one a port: lattice run IMAGE -p 8080 --public",
    )


def _reached(route: Mapping[str, Any]) -> str:
    if not route["public"]:
        return "on its node"
    return "publicly, not encrypted" if route["plaintext"] else "publicly"


def _row(workload: dict[str, Any], route: dict[str, Any]) -> dict[str, Any]:
    return {**route, "state": workload["state"]}
