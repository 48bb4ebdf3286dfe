"""Assembles the `lattice` command and turns every bad end into an explanation and an exit code.

Only Typer and the commands' signatures are imported here: `lattice --help` has to answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

import typer

from cli.command import OutputOption, ProjectOption, QuietOption
from cli.commands import (
    access,
    alerts,
    applying,
    apps,
    deploying,
    exec,
    forward,
    jobs,
    lifecycle,
    logs,
    nodes,
    operations,
    people,
    platform,
    raw,
    reading,
    revisions,
    routes,
    stats,
    storage,
    templates,
)
from cli.errors import CliError, ExitCode
from cli.output import OutputFormat, Screen
from cli.session import Options

_IN_ORDER_OF_HELP = (
    platform,
    access,
    deploying,
    applying,
    apps,
    reading,
    stats,
    logs,
    exec,
    forward,
    lifecycle,
    revisions,
    jobs,
    templates,
    nodes,
    routes,
    storage,
    alerts,
    operations,
    people,
    raw,
)


def build_app() -> typer.Typer:
    """The whole command tree."""
    app = typer.Typer(
        name="lattice",
        no_args_is_help=True,
        rich_markup_mode=None,  # plain help: Rich would add a third to the start-up time
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=_HELP)(_root)
    for module in _IN_ORDER_OF_HELP:
        module.register(app)
    return app


_HELP = """\b
Example:
  lattice up --detach --wait
  lattice deploy postgres --name orders-db
  lattice credentials orders-db

One container platform from any machines that run Docker.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 timed out while the work goes on.
"""


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - Typer's signature
    if wanted:
        from lattice import __version__

        Screen(OutputFormat.TABLE, quiet=False).say(f"lattice {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    *,
    output: OutputOption = None,
    quiet: QuietOption = False,
    project: ProjectOption = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    context.obj = Options(output=output, quiet=quiet, project=project)


@cache
def whole_command() -> Callable[[], Any]:
    """The tree as the parser uses it, made once in a process."""
    return typer.main.get_command(build_app())


def main() -> None:
    """The console script."""
    try:
        whole_command()()
    except CliError as error:
        sys.stdout.flush()
        Screen(OutputFormat.TABLE, quiet=False).error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `lattice logs … | head`
        _leave_quietly()


def _leave_quietly() -> None:
    """Python flushes stdout at its end and would complain once more about the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(ExitCode.FAILED)


if __name__ == "__main__":
    main()
