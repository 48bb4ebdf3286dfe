"""`stop`, `start`, `restart`, `rm`, `credentials`: what is done with a workload that is there."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import TimeoutOption, WaitOption, YesOption, command
from cli.commands.reading import NameArgument
from cli.session import Session

Json = dict[str, Any]
_TIMEOUT = "2m"
_CREDENTIAL_PARTS = ("uri", "host", "port", "username", "password", "database", "ca")


def register(app: typer.Typer) -> None:
    command(app, "stop", example="lattice stop orders-db")(stop)
    command(app, "start", example="lattice start orders-db")(start)
    command(app, "restart", example="lattice restart orders-db")(restart)
    command(app, "rm", example="lattice rm orders-db --volumes --yes")(remove)
    command(app, "credentials", example=_CREDENTIALS_EXAMPLE)(credentials)


_CREDENTIALS_EXAMPLE = """lattice credentials orders-db
psql "$(lattice credentials orders-db --field uri)\""""


def stop(
    session: Session, name: NameArgument, *, wait: WaitOption = True, timeout: TimeoutOption = _TIMEOUT
) -> None:
    """Stop a workload; its volumes and its address stay."""
    _command(session, name, "stop", doing="Stopping", wait=wait, timeout=timeout)
    session.screen.hint(f"lattice start {name}")


def start(
    session: Session, name: NameArgument, *, wait: WaitOption = True, timeout: TimeoutOption = _TIMEOUT
) -> None:
    """Start a stopped workload."""
    _command(session, name, "start", doing="Starting", wait=wait, timeout=timeout)
    session.screen.hint(f"lattice show {name}", f"lattice logs {name} -f")


def restart(
    session: Session, name: NameArgument, *, wait: WaitOption = True, timeout: TimeoutOption = _TIMEOUT
) -> None:
    """Replace a workload's containers by new ones."""
    _command(session, name, "restart", doing="Restarting", wait=wait, timeout=timeout)
    session.screen.hint(f"lattice show {name}", f"lattice logs {name} -f")


def _command(session: Session, name: str, verb: str, *, doing: str, wait: bool, timeout: str) -> None:
    from cli.progress import finish
    from cli.times import parse_duration_s

    parse_duration_s(timeout)
    answer = session.client.post(path_of("workloads", name, verb), project=session.project)
    finish(session, answer, what=f"{doing} {name}", wait=wait, timeout=timeout)
    if not wait:
        _accepted(session, name, answer)
        return
    workload = session.client.get(path_of("workloads", name), project=session.project)
    if not session.screen.data(workload):
        session.screen.say(f"{workload['name']} is {workload['state']}.")


def _accepted(session: Session, name: str, answer: Json) -> None:
    if not session.screen.data(answer):
        session.screen.say(f"Accepted for {name}: operation {answer['operation']['id']}.")


def remove(
    session: Session,
    name: NameArgument,
    *,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Remove its volumes and their data too.")
    ] = False,
    yes: YesOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = _TIMEOUT,
) -> None:
    """Remove a workload; its volumes stay unless --volumes."""
    from cli import asking
    from cli.progress import finish
    from cli.times import parse_duration_s

    parse_duration_s(timeout)
    loss = f"Removing {name}{' with the data of its volumes' if volumes else ''}"
    asking.confirm_loss(loss, name=name, yes=yes)
    answer = session.client.delete(
        path_of("workloads", name), project=session.project, volumes=volumes or None
    )
    operation = finish(session, answer, what=f"Removing {name}", wait=wait, timeout=timeout)
    if not wait:
        _accepted(session, name, answer)
    elif not session.screen.data(operation):
        _report_removed(session, name, operation or {}, volumes=volumes)


def _report_removed(session: Session, name: str, operation: Json, *, volumes: bool) -> None:
    pending = (operation.get("result") or {}).get("pending_nodes") or ()
    session.screen.say(f"{name} is removed.")
    if pending:
        session.screen.note(
            f"Its containers on {', '.join(map(str, pending))} go as soon as those nodes are back."
        )
    if not volumes:
        session.screen.note("Volumes that it had are kept: `lattice volume ls`.")


def credentials(
    session: Session,
    name: NameArgument,
    *,
    field: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(_CREDENTIAL_PARTS), help="Print only this part, as it is.", show_default=False
        ),
    ] = None,
) -> None:
    """Show how to connect to a workload.  This is recorded in the audit trail."""
    from cli.errors import CliError

    data = session.client.get(path_of("workloads", name, "credentials"), project=session.project)
    parts = {**(data.get("extra") or {}), **{key: data.get(key) for key in _CREDENTIAL_PARTS}}
    if field is not None:
        if not parts.get(field):
            given = ", ".join(key for key, value in parts.items() if value)
            raise CliError(f"The credentials of {name} have no {field!r}.", todo=f"there is {given}")
        session.screen.say(str(parts[field]).removesuffix("\n"))
    elif not session.screen.data(data, name=data["uri"]):
        session.screen.say(data["uri"])
        session.screen.say("")
        shown = {key: value for key, value in parts.items() if key not in ("uri", "ca")}
        session.screen.fields([(key.replace("_", " ").capitalize(), value) for key, value in shown.items()])
        if data.get("ca"):
            session.screen.note(f"\nIts CA: lattice credentials {name} --field ca > ca.pem")
