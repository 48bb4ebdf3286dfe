"""`routes …`: where workloads are reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import command, group
from cli.session import Session


def register(app: typer.Typer) -> None:
    routes = group("routes", summary="Routes: the addresses of workloads.")
    app.add_typer(routes)
    command(routes, "ls", example="lattice routes ls")(list_routes)
    command(routes, "take-down", example='lattice routes take-down web--default --why "phishing"')(take_down)
    command(routes, "restore", example="lattice routes restore web--default")(restore)


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
    rows = [row for workload in workloads for route in workload["routes"] for row in _rows(workload, route)]
    data = {"items": rows, "next_page_token": None}
    session.screen.listing(
        data,
        columns,
        empty="No workload of this project has an address. Give one a port: lattice run IMAGE -p 8080 --public",
    )


RouteArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The first label of a public name: web--default.")
]


def take_down(
    session: Session,
    name: RouteArgument,
    *,
    why: Annotated[str, typer.Option(metavar="TEXT", help="For the record, and for visitors.")],
) -> None:
    """Close a public address, whoever has it; visitors are told why."""
    route = session.client.post(path_of("routes", name, "take-down"), {"reason": why})
    if not session.screen.data(route):
        session.screen.say(f"{route['url']} is closed: {route['taken_down']}.")


def restore(session: Session, name: RouteArgument) -> None:
    """Open a public address again."""
    route = session.client.post(path_of("routes", name, "restore"), {})
    if not session.screen.data(route):
        session.screen.say(f"{route['url']} is open again.")


def _reached(route: Mapping[str, Any]) -> str:
    if not route["public"]:
        return "on its node"
    if not route.get("verified", True):
        return f"not yet: {route['record']}"
    if route.get("taken_down"):
        return "closed by the operators"
    return "publicly, not encrypted" if route["plaintext"] else "publicly"


def _rows(workload: dict[str, Any], route: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The route itself, its address over HTTPS, and each domain that is to lead to it."""
    row = {**route, "state": workload["state"]}
    yield row
    if route.get("secure_url"):
        yield row | {"url": route["secure_url"], "secure_url": ""}
    for domain in route.get("domains") or ():
        yield row | {
            "url": domain["name"],
            "host": domain["name"],
            "verified": domain["verified"],
            "record": domain["record"],
        }
