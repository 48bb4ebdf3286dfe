"""`forward`: ports of a workload on this machine, public or not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import command
from cli.commands.reading import NameArgument
from cli.errors import CliError, usage
from cli.session import Session

if TYPE_CHECKING:
    from cli.forwarding import Way

_EXAMPLE = """lattice forward orders-db 5432
lattice forward orders-db 15432:5432 --slot 1"""
_RUNS = ("running", "unhealthy")


def register(app: typer.Typer) -> None:
    command(app, "forward", example=_EXAMPLE)(forward)


def forward(
    session: Session,
    name: NameArgument,
    ports: Annotated[
        list[str],
        typer.Argument(metavar="[LOCAL:]PORT...", help="A port's number in the container, or its name."),
    ],
    *,
    slot: Annotated[
        int | None,
        typer.Option(min=0, help="To which replica; default: one that is well.", show_default=False),
    ] = None,
    address: Annotated[str, typer.Option(help="Where to listen on this machine.")] = "127.0.0.1",
) -> None:
    """Reach ports of a workload as ports of this machine, until Ctrl-C.

    The workload need not be public: connections go through the platform and the tunnel that its node keeps.
    """
    import asyncio

    from cli.forwarding import Target, serve

    workload = session.client.get(path_of("workloads", name), project=session.project)
    ways = [_way(workload, text) for text in ports]
    target = Target(session.client, session.project, name, slot)

    def listening(way: Way, local: int) -> None:
        if not session.screen.data({"address": address, "port": local, "remote": way.remote}):
            session.screen.say(f"{address}:{local} leads to port {way.remote} of {name}. Ctrl-C ends it.")
        session.screen.flush()

    asyncio.run(serve(target, ways, address, listening=listening, tell=session.screen.note))


def _way(workload: dict[str, Any], text: str) -> Way:
    from cli.forwarding import Way

    local, colon, remote = text.rpartition(":")
    mapping = _mapping(workload, remote)
    if not colon:
        return Way(mapping["container_port"], remote)
    if not (local.isascii() and local.isdigit() and int(local) < 65_536):
        raise usage(
            f"{text} is not [LOCAL:]PORT.",
            todo=f"say for example {15432}:{remote}, or 0:{remote} for any free port",
        )
    return Way(int(local), remote)


def _mapping(workload: dict[str, Any], port: str) -> dict[str, Any]:
    mappings = [
        mapping for each in workload["instances"] if each["state"] in _RUNS for mapping in each["ports"]
    ]
    for mapping in mappings:
        if port in (mapping["name"], str(mapping["container_port"])):
            return dict(mapping)
    name = workload["name"]
    if not any(each["state"] in _RUNS for each in workload["instances"]):
        raise CliError(f"{name} does not run: it is {workload['state']}.", todo=f"lattice show {name}")
    raise CliError(
        f"{name} has no port {port}.",
        why=f"it has {_listed(mappings) or 'none'}",
        todo="a port is part of a workload's spec; see `lattice update --help`",
    )


def _listed(mappings: Iterable[dict[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(f"{each['container_port']} ({each['name']})" for each in mappings))
