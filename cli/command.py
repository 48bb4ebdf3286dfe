"""How commands are declared: a function over a `Session`, to which -o, -q and --project are added.

    @command(app, "ps", example="lattice ps")
    def ps(session: Session) -> None: ...

`--help` opens with the example.  The function itself stays callable with a session and plain values.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from cli.output import OutputFormat
from cli.session import Options, Session
from cli.settings import this_environment

F = TypeVar("F", bound=Callable[..., Any])

OutputOption = Annotated[
    OutputFormat | None, typer.Option("--output", "-o", help="How to print the answer.", show_default=False)
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print names only; no progress, no hints.")]
ProjectOption = Annotated[
    str | None,
    typer.Option("--project", metavar="NAME", help="The project [env: LATTICE_PROJECT; default: default]."),
]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")]
TimeoutOption = Annotated[
    str, typer.Option("--timeout", metavar="DURATION", help="How long to wait (30s, 5m); then exit with 3.")
]
VolumesOption = Annotated[bool, typer.Option("--volumes", help="Remove its volumes and their data too.")]
LinesOption = Annotated[
    str, typer.Option("--lines", "-n", "--tail", metavar="N|all", help="The newest N lines.")
]
TimestampsOption = Annotated[bool, typer.Option("--timestamps", "-t", help="Begin each line with its time.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_COMMON = (
    ("output", OutputOption, None),
    ("quiet", QuietOption, False),
    ("project", ProjectOption, None),
)


def group(name: str, *, summary: str) -> typer.Typer:
    """A noun with its own verbs: `lattice node …`."""
    return typer.Typer(name=name, help=summary, no_args_is_help=True, rich_markup_mode=None)


def command(
    parent: typer.Typer, name: str, *, example: str = "", in_project: bool = True, **settings: Any
) -> Callable[[F], F]:
    """Registers a function as `lattice … NAME`; its docstring becomes the help, after the example."""

    def register(function: F) -> F:
        doc = inspect.cleandoc(function.__doc__ or "")
        parent.command(
            name,
            help=_with_example(doc, example),
            short_help=_summary(doc),
            **settings,
        )(_with_common_options(function, in_project=in_project))
        return function

    return register


def _summary(doc: str) -> str:
    """The first thought, which fits beside the command's name."""
    return re.split(r"[.;] |[:.]$|: ", doc.split("\n\n")[0].replace("\n", " "))[0]


def _with_example(doc: str, example: str) -> str:
    if not example:
        return doc
    lines = "\n".join(f"  {line}" for line in example.splitlines())
    return f"\b\nExample:\n{lines}\n\n{doc}"


def _with_common_options(function: Callable[..., Any], *, in_project: bool) -> Callable[..., Any]:
    """`function` as Typer wants it: its signature without the session, with a context and the common options."""

    def run(context: typer.Context, **given: Any) -> Any:
        chosen = Options(
            output=given.pop("output"), quiet=given.pop("quiet"), project=given.pop("project", None)
        )
        outer = context.obj if isinstance(context.obj, Options) else Options()
        return function(Session(chosen.over(outer), this_environment()), **given)

    signature = inspect.signature(function, eval_str=True)
    own = list(signature.parameters.values())[1:]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    common = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, annotation, default in _COMMON
        if in_project or name != "project"
    ]
    parameters = [context, *[p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own], *common]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run
