"""`up`, `down`, `status`, `doctor`, `reset`, `support`: the platform on this machine itself.

They live in `standalone`, which is looked up by name only when one of them runs: a laptop has no server parts installed, and the layers do
not know each other.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.command import YesOption, command, group
from cli.session import Session

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Where the platform keeps everything [env: LATTICE_DATA_DIR].",
        show_default=False,
    ),
]
_MODULE = "standalone.commands"


def register(app: typer.Typer) -> None:
    command(app, "up", in_project=False, example="lattice up --detach --wait")(up)
    command(app, "down", in_project=False, example="lattice down --workloads")(down)
    command(app, "status", in_project=False)(status)
    command(app, "doctor", in_project=False)(doctor)
    command(app, "reset", in_project=False, example="lattice reset --yes")(reset)
    support = group("support", summary="Help for whoever helps you.")
    app.add_typer(support)
    command(support, "bundle", in_project=False, example="lattice support bundle --to ./bundle")(bundle)


def up(
    session: Session,
    *,
    data_dir: DataDirOption = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="The gateway's port; default: a free one.", show_default=False),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="With --detach: return when it is ready.")] = False,
    no_agent: Annotated[bool, typer.Option("--no-agent", help="Do not make this machine a node.")] = False,
) -> None:
    """Start the whole platform on this machine."""
    _end(
        _call(
            session,
            "up",
            data_dir,
            port=port,
            detach=detach,
            wait=wait,
            no_agent=no_agent,
            output=_output(session),
        )
    )


def down(
    session: Session,
    *,
    data_dir: DataDirOption = None,
    workloads: Annotated[
        bool, typer.Option("--workloads", help="Stop the workloads too; else they run on.")
    ] = False,
) -> None:
    """Stop the platform on this machine; its workloads run on."""
    _end(_call(session, "down", data_dir, workloads=workloads))


def status(session: Session, *, data_dir: DataDirOption = None) -> None:
    """Show the parts of the platform on this machine."""
    _end(_call(session, "status", data_dir, output=_output(session)))


def doctor(session: Session, *, data_dir: DataDirOption = None) -> None:
    """Check what the platform needs, and say what to do about what is missing."""
    _end(_call(session, "doctor", data_dir, output=_output(session)))


def reset(session: Session, *, data_dir: DataDirOption = None, yes: YesOption = False) -> None:
    """Remove everything that Lattice made on this machine; without --yes only show it."""
    _end(_call(session, "reset", data_dir, yes=yes))


def bundle(
    session: Session,
    *,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where to write it.")],
    data_dir: DataDirOption = None,
) -> None:
    """Collect logs and states for whoever helps you; secrets are left out."""
    _end(_call(session, "support_bundle", data_dir, to=to, output=_output(session)))


def _output(session: Session) -> str:
    return str(session.screen.output)


def _call(session: Session, function: str, data_dir: Path | None, **arguments: Any) -> int:
    chosen = session.environment.data_dir if session.environment.data_dir_chosen else None
    return int(getattr(_commands(), function)(data_dir=data_dir or chosen, **arguments))


def _commands() -> Any:
    from cli.errors import CliError

    try:
        return importlib.import_module(_MODULE)
    except ModuleNotFoundError as error:
        raise CliError(
            "This installation cannot run a platform.",
            why=f"the module {error.name} is not installed: only the parts for the command line are",
            todo="pip install 'lattice-platform[embedded]', or use a platform elsewhere: `lattice login URL`",
        ) from error


def _end(code: int) -> None:
    if code:
        raise typer.Exit(code)
