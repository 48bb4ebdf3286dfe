"""`stop`, `start`, `restart`, `rm`, `credentials`: what is done with a workload that is there."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import TimeoutOption, VolumesOption, WaitOption, YesOption, command
from cli.commands.reading import NameArgument, NamesArgument
from cli.session import Session

Json = dict[str, Any]
_TIMEOUT = "2m"
_CREDENTIAL_PARTS = ("uri", "host", "port", "username", "password", "database", "ca")


def register(app: typer.Typer) -> None:
    command(app, "stop", example="lattice stop orders-db\nlattice stop orders-db cache")(stop)
    command(app, "start", example="lattice start orders-db cache")(start)
    command(app, "restart", example="lattice restart orders-db")(restart)
    command(app, "rm", example="lattice rm orders-db --volumes --yes")(remove)
    command(app, "credentials", example=_CREDENTIALS_EXAMPLE)(credentials)


_CREDENTIALS_EXAMPLE = """lattice credentials orders-db
psql "$(lattice credentials orders-db --field uri)\""""


def stop(
    session: Session, names: NamesArgument, *, wait: WaitOption = True, timeout: TimeoutOption = _TIMEOUT
) -> None:
    """Stop workloads; their volumes and addresses stay."""
    _command(session, names, "stop", doing="Stopping", wait=wait, timeout=timeout)
    session.screen.hint(f"lattice start {' '.join(names)}")


def start(
    session: Session, names: NamesArgument, *, wait: WaitOption = True, timeout: TimeoutOption = _TIMEOUT
) -> None:
    """Start stopped workloads."""
    _command(session, names, "start", doing="Starting", wait=wait, timeout=timeout)
    session.screen.hint(f"lattice show {names[0]}", f"lattice logs {names[0]} -f")


def restart(
    session: Session, names: NamesArgument, *, wait: WaitOption = True, timeout: TimeoutOption = _TIMEOUT
) -> None:
    """Replace the containers of workloads by new ones."""
    _command(session, names, "restart", doing="Restarting", wait=wait, timeout=timeout)
    session.screen.hint(f"lattice show {names[0]}", f"lattice logs {names[0]} -f")


def _command(session: Session, names: list[str], verb: str, *, doing: str, wait: bool, timeout: str) -> None:
    """Ask for all of them first, so that they go at the same time; an answer for programs has as many items as were named."""
    from cli.progress import finish
    from cli.times import parse_duration_s

    parse_duration_s(timeout)
    answers = [
        session.client.post(path_of("workloads", name, verb), project=session.project) for name in names
    ]
    if wait:
        for name, answer in zip(names, answers, strict=True):
            finish(session, answer, what=f"{doing} {name}", wait=True, timeout=timeout)
        answers = [session.client.get(path_of("workloads", name), project=session.project) for name in names]
    if session.screen.data(answers[0] if len(answers) == 1 else {"items": answers}):
        return
    for name, answer in zip(names, answers, strict=True):
        session.screen.say(
            f"{answer['name']} is {answer['state']}." if wait else _accepted_text(name, answer)
        )


def _accepted_text(name: str, answer: Json) -> str:
    return f"Accepted for {name}: operation {answer['operation']['id']}."


def remove(
    session: Session,
    name: NameArgument,
    *,
    volumes: VolumesOption = False,
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
    if session.screen.data(operation if wait else answer):
        return
    if wait:
        _report_removed(session, name, operation or {}, volumes=volumes)
    else:
        session.screen.say(_accepted_text(name, answer))


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
