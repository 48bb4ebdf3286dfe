"""`volume …` and `secret …`: what outlives a workload."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import YesOption, command, group
from cli.session import Session

VolumeArgument = Annotated[
    str, typer.Argument(metavar="VOLUME", help="A volume's id, or its name where that is unique.")
]
SecretArgument = Annotated[str, typer.Argument(metavar="NAME", help="The secret's name.")]


def register(app: typer.Typer) -> None:
    volume = group("volume", summary="Volumes: the data of workloads.")
    secret = group("secret", summary="Secrets: values that workloads get and nobody sees again.")
    app.add_typer(volume)
    app.add_typer(secret)
    command(volume, "ls")(list_volumes)
    command(volume, "show")(show_volume)
    command(volume, "rm", example="lattice volume rm vo-… --yes")(remove_volume)
    command(secret, "set", example="lattice secret set api-key < key.txt")(set_secret)
    command(secret, "ls")(list_secrets)
    command(secret, "rm")(remove_secret)


def list_volumes(session: Session) -> None:
    """List the volumes."""
    from cli.tables import Column, field
    from lattice.contracts.quantities import format_size

    columns = (
        field("ID", "id", leave_out=1, whole=True),
        field("NAME", "name", whole=True),
        field("SLOT", "slot", right=True, leave_out=4),
        field("STATE", "state", whole=True),
        Column("WORKLOAD", lambda v, _now: v.get("workload") or f"(was {v.get('created_by_workload')})"),
        field("NODE", "node", leave_out=2),
        Column("SIZE", lambda v, _now: format_size(v["size_bytes"]), right=True, leave_out=3),
    )
    data = session.client.listing(path_of("volumes"), project=session.project)
    session.screen.listing(data, columns, empty="There are no volumes in this project.")


def show_volume(session: Session, volume: VolumeArgument) -> None:
    """Show a volume: where it is, what uses it, and what its state means."""
    from cli import volume_text

    found = _find_volume(session, volume)
    if not session.screen.data(found):
        volume_text.show(session.screen, found, now=session.screen.now())


def _find_volume(session: Session, volume: str) -> dict[str, Any]:
    from cli.errors import CliError

    everything = session.client.listing(path_of("volumes"), project=session.project)["items"]
    found = [entry for entry in everything if volume in (entry["id"], entry["name"])]
    if len(found) == 1:
        return dict(found[0])
    if not found:
        raise CliError(
            f"There is no volume {volume!r} in project {session.project}.", todo="see `lattice volume ls`"
        )
    choices = ", ".join(
        f"{entry['id']} ({entry['created_by_workload']}, slot {entry['slot']})" for entry in found
    )
    raise CliError(f"Several volumes are called {volume!r}.", todo=f"give an id: {choices}")


def remove_volume(session: Session, volume: VolumeArgument, *, yes: YesOption = False) -> None:
    """Remove a volume and its data."""
    from cli import asking

    found = _find_volume(session, volume)
    asking.confirm_loss(f"Removing volume {found['name']} with its data", name=volume, yes=yes)
    answer = session.client.delete(path_of("volumes", found["id"]), project=session.project)
    if not session.screen.data(answer if answer is not None else found):
        session.screen.say(f"{volume} is removed.")


def set_secret(
    session: Session,
    name: SecretArgument,
    *,
    from_file: Annotated[
        str | None,
        typer.Option(
            "--from-file", metavar="FILE", help="Take the file as it is; else stdin.", show_default=False
        ),
    ] = None,
) -> None:
    """Set a secret from stdin or a file.  Workloads that run keep the value that they have."""
    from cli import asking
    from cli.yaml_files import read_text

    value = read_text(from_file) if from_file else asking.secret(f"Value of {name}")
    answer = session.client.put(path_of("secrets", name), {"value": value}, project=session.project)
    if not session.screen.data(answer):
        session.screen.say(f"{name} is set (version {answer['version']}).")
        session.screen.hint(f"lattice run IMAGE --name NAME --secret VARIABLE={name}")


def list_secrets(session: Session) -> None:
    """List the secrets; never their values."""
    from cli.tables import Column, field
    from cli.times import ago

    columns = (
        field("NAME", "name", whole=True),
        field("VERSION", "version", right=True),
        Column("CHANGED", lambda s, now: ago(s.get("updated_at"), now=now)),
    )
    data = session.client.listing(path_of("secrets"), project=session.project)
    session.screen.listing(
        data, columns, empty="There are no secrets in this project. Try `lattice secret set NAME`."
    )


def remove_secret(session: Session, name: SecretArgument) -> None:
    """Remove a secret."""
    session.client.delete(path_of("secrets", name), project=session.project)
    if not session.screen.data({"name": name}):
        session.screen.say(f"{name} is removed.")
