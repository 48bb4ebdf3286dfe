"""`plan` and `apply`: what a file describes, a workload or a compose file, looked at first or made so."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import TimeoutOption, WaitOption, command
from cli.commands.apps import AppNameOption, IgnoreOption, Sending, apply_compose, is_compose, plan_compose
from cli.commands.deploying import DEPLOY_TIMEOUT, AdoptOption, SetOption, create, schema_of, with_sets
from cli.errors import Refused, usage
from cli.session import Session

Json = dict[str, Any]
# The version that a plan gives for a workload that is not there; no workload ever has it.
_NEW = "0"
FileOption = Annotated[
    str,
    typer.Option(
        "--file", "-f", metavar="FILE", help="A workload in YAML, or a compose file; - reads stdin."
    ),
]
_PLAN_EXAMPLE = """lattice plan -f api.yaml
lattice plan -f api.yaml -o json
lattice plan -f compose.yaml --name shop"""
_APPLY_EXAMPLE = """lattice apply -f api.yaml
lattice apply -f api.yaml --if-match 7
lattice apply -f compose.yaml --name shop"""


def register(app: typer.Typer) -> None:
    command(app, "plan", example=_PLAN_EXAMPLE)(plan)
    command(app, "apply", example=_APPLY_EXAMPLE)(apply)


def apply(
    session: Session,
    *,
    file: FileOption,
    name: AppNameOption = None,
    sets: SetOption = None,
    if_match: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="Only if the workload or app still has this version (`plan`, `show -o json`); 0 for none yet.",
        ),
    ] = None,
    ignore_unsupported: IgnoreOption = False,
    adopt: AdoptOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = DEPLOY_TIMEOUT,
) -> None:
    """Make a workload, or an app from a compose file, as the file describes it: new, or by updating what is there."""
    read = _read(file)
    if is_compose(read):
        _check_no_sets(sets)
        sending = Sending(name=name, if_match=if_match, adopt=adopt, ignore_unsupported=ignore_unsupported)
        apply_compose(session, read, file, sending, wait=wait, timeout=timeout)
        return
    _check_workload(name, ignore_unsupported=ignore_unsupported)
    spec, project = _spec_in(session, read, sets)
    is_new = if_match in (None, _NEW) and not _exists(session, str(spec.get("name")), project)
    if is_new:
        create(session, spec, project=project, adopt=adopt, wait=wait, timeout=timeout)
        return
    from cli.commands.revisions import send_update

    condition = None if if_match is None else f'"{if_match.strip(chr(34))}"'
    send_update(session, spec, project=project, if_match=condition, adopt=adopt, wait=wait, timeout=timeout)


def plan(
    session: Session,
    *,
    file: FileOption,
    name: AppNameOption = None,
    sets: SetOption = None,
    ignore_unsupported: IgnoreOption = False,
    adopt: AdoptOption = False,
) -> None:
    """Show what `apply` would change and where instances would go; change nothing."""
    from cli import plan_text

    read = _read(file)
    if is_compose(read):
        _check_no_sets(sets)
        plan_compose(session, read, file, name, ignore_unsupported=ignore_unsupported)
        return
    _check_workload(name, ignore_unsupported=ignore_unsupported)
    spec, project = _spec_in(session, read, sets)
    planned = session.client.post(path_of("workloads", "plan"), spec, project=project, adopt=adopt or None)
    if session.screen.data(planned):
        return
    plan_text.show(session.screen, planned)
    if planned["action"] != "nothing":
        again = ["-f", file, *(part for each in sets or () for part in ("--set", each))]
        again += ["--adopt"] if adopt else []
        session.screen.hint(f"lattice apply {shlex.join(again)} --if-match {planned['version']}")


def _read(file: str) -> Json:
    from cli.yaml_files import read_mapping, read_text

    return read_mapping(file, sys.stdin.read() if file == "-" else read_text(file))


def _check_no_sets(sets: Sequence[str] | None) -> None:
    if sets:
        raise usage(
            "--set changes the spec of a workload, and this is a compose file.", todo="change the file"
        )


def _check_workload(name: str | None, *, ignore_unsupported: bool) -> None:
    if name is not None or ignore_unsupported:
        raise usage("--name and --ignore-unsupported are for compose files; this is a workload.")


def _spec_in(session: Session, spec: Json, sets: Sequence[str] | None) -> tuple[Json, str]:
    """The spec that was read with the --set options put in, and its project."""
    project = session.options.project or str(spec.pop("project", None) or session.project)
    spec.pop("project", None)
    schema = schema_of(session, str(spec["template"])) if sets and spec.get("template") else None
    return with_sets(spec, sets or (), schema=schema), project


def _exists(session: Session, name: str, project: str) -> bool:
    try:
        session.client.get(path_of("workloads", name), project=project)
    except Refused as error:
        if error.status == 404:
            return False
        raise
    return True
