"""`app …`, and `apply` of a compose file: workloads that belong together."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import TimeoutOption, VolumesOption, WaitOption, YesOption, command, group
from cli.session import Session

Json = dict[str, Any]
_TIMEOUT = "10m"
AppArgument = Annotated[str, typer.Argument(metavar="APP", help="The app's name or id.")]
AppNameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Of a compose file: the app's name; else its `name:`, else its folder's.",
        show_default=False,
    ),
]
IgnoreOption = Annotated[
    bool,
    typer.Option("--ignore-unsupported", help="Of a compose file: apply it without what is not supported."),
]
FileOption = Annotated[
    str, typer.Option("--file", "-f", metavar="FILE", help="A compose file; - reads stdin.")
]
_SIGNS = {"create": "+", "update": "~", "keep": "=", "remove": "-"}


def register(app: typer.Typer) -> None:
    apps = group("app", summary="Apps: workloads from one compose file.")
    app.add_typer(apps)
    command(apps, "ls")(list_apps)
    command(apps, "show", example="lattice app show shop")(show)
    command(apps, "plan", example="lattice app plan -f compose.yaml")(plan)
    command(apps, "rm", example="lattice app rm shop --yes")(remove)


@dataclass(frozen=True, slots=True)
class Sending:
    """How a compose file is applied."""

    name: str | None = None
    if_match: str | None = None
    adopt: bool = False
    ignore_unsupported: bool = False


def is_compose(document: Mapping[str, Any]) -> bool:
    """Whether a document is a compose file and not a workload."""
    return "services" in document and "template" not in document and "image" not in document


def apply_compose(
    session: Session, document: Json, file: str, sending: Sending, *, wait: bool, timeout: str
) -> None:
    """Send a compose file and, if asked to, watch its workloads become as it says."""
    from cli.times import parse_duration_s

    timeout_s = parse_duration_s(timeout)
    name, compose = _filled(session, document, file, sending.name)
    condition = None if sending.if_match is None else f'"{sending.if_match.strip(chr(34))}"'
    answer = session.client.put(
        path_of("apps", name),
        compose,
        if_match=condition,
        project=session.project,
        adopt=sending.adopt or None,
        ignore_unsupported=sending.ignore_unsupported or None,
    )
    _say_findings(session, answer)
    _say_changes(session, answer)
    if wait:
        operations = _wait_for(session, answer, doing="Deploying", timeout_s=timeout_s)
        answer |= {"operations": operations, "view": _get(session, name)}
    if session.screen.data(answer, name=name):
        return
    if wait:
        _show(session, answer["view"])
    session.screen.hint(f"lattice app show {name}", f"lattice logs {name}-SERVICE -f")


def _filled(session: Session, document: Json, file: str, given: str | None) -> tuple[str, Json]:
    from cli.compose_files import app_name, fill
    from cli.settings import caller_variables

    filled = fill(document, file, caller_variables())
    for note in filled.notes:
        session.screen.note(note)
    name = app_name(filled.document, file, given)
    if given is None and not filled.document.get("name"):
        session.screen.note(f"The app is called {name}, after the folder of its file.")
    return name, filled.document


def _say_findings(session: Session, answer: Json) -> None:
    for finding in answer["ignored"]:
        session.screen.note(f"Left out: {finding['path']}: {finding['detail']}")
    for finding in answer["notes"]:
        session.screen.note(f"Note: {finding['path']}: {finding['detail']}")


def _say_changes(session: Session, answer: Json) -> None:
    for line in change_lines(answer["changes"]):
        session.screen.note(line)


def change_lines(changes: Iterable[Mapping[str, Any]]) -> list[str]:
    """`+ web (shop-web)`, `~ db (shop-db): image, env`, `= cache (shop-cache)`, `- old (shop-old): its volumes stay`."""
    return [
        f"{_SIGNS[change['change']]} {change['service']} ({change['workload']}){_what(change)}"
        for change in changes
    ]


def _what(change: Mapping[str, Any]) -> str:
    if change["change"] == "remove":
        return ": its volumes stay"
    if change["change"] == "update":
        return f": {', '.join(change['fields']) or 'a newer image or secret'}"
    return ""


def _wait_for(session: Session, answer: Json, *, doing: str, timeout_s: float) -> list[Json]:
    """The operations once they succeeded; they run side by side, so all share one time."""
    from cli.progress import wait_for

    began, ended = time.monotonic(), []
    for operation in answer["operations"]:
        word = "Removing" if operation["kind"] == "remove" else doing
        left_s = max(1.0, timeout_s - (time.monotonic() - began))
        what = f"{word} {operation['subject_name']}"
        ended.append(wait_for(session, operation, what=what, timeout_s=left_s))
    return ended


def _get(session: Session, name: str) -> Json:
    found: Json = session.client.get(path_of("apps", name), project=session.project)
    return found


def list_apps(session: Session) -> None:
    """List the apps."""
    from cli.tables import Column, field
    from cli.times import ago

    columns = (
        field("NAME", "name", whole=True),
        field("STATE", "state", whole=True),
        Column("SERVICES", lambda a, _now: ", ".join(each["service"] for each in a["services"])),
        Column("AGE", lambda a, now: ago(a.get("created_at"), now=now), leave_out=1),
    )
    data = session.client.listing(path_of("apps"), project=session.project)
    session.screen.listing(
        data, columns, empty="There are no apps in this project. Try `lattice apply -f compose.yaml`."
    )


def show(session: Session, app: AppArgument) -> None:
    """Show an app and its services."""
    found = _get(session, app)
    if not session.screen.data(found):
        _show(session, found)


def _show(session: Session, app: Json) -> None:
    from cli.tables import Column, field

    screen = session.screen
    pairs = (("Name", "name"), ("Id", "id"), ("Project", "project"), ("State", "state"), ("Reason", "reason"))
    screen.fields([(title, app.get(key)) for title, key in pairs])
    columns = (
        field("SERVICE", "service", whole=True),
        field("WORKLOAD", "workload", whole=True),
        field("STATE", "state", whole=True),
        Column("READY", lambda s, _now: f"{s['ready']}/{s['replicas']}", leave_out=1, right=True),
        Column("NODE", lambda s, _now: ", ".join(s["nodes"]), leave_out=2),
        Column("URL", lambda s, _now: s["routes"][0]["url"] if s["routes"] else "", whole=True),
        field("WHY", "reason", leave_out=3),
    )
    if app["services"]:
        screen.say("")
        screen.table(columns, app["services"])


def plan(
    session: Session,
    *,
    file: FileOption,
    name: AppNameOption = None,
    ignore_unsupported: IgnoreOption = False,
) -> None:
    """Say what applying a compose file would do.  Changes nothing."""
    from cli.errors import usage
    from cli.yaml_files import read_mapping, read_text

    document = read_mapping(file, sys.stdin.read() if file == "-" else read_text(file))
    if not is_compose(document):
        raise usage(f"{file} is not a compose file: it has no `services`.")
    plan_compose(session, document, file, name, ignore_unsupported=ignore_unsupported)


def plan_compose(
    session: Session, document: Json, file: str, name: str | None, *, ignore_unsupported: bool
) -> None:
    """What applying a compose file that was read would do."""
    app, compose = _filled(session, document, file, name)
    answer = session.client.post(
        path_of("apps", app, "plan"),
        compose,
        project=session.project,
        ignore_unsupported=ignore_unsupported or None,
    )
    if session.screen.data(answer, name=app):
        return
    _say_findings(session, answer)
    for line in change_lines(answer["changes"]):
        session.screen.say(line)


def remove(
    session: Session,
    app: AppArgument,
    *,
    volumes: VolumesOption = False,
    yes: YesOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = _TIMEOUT,
) -> None:
    """Remove an app with all its workloads; their volumes stay unless --volumes."""
    from cli import asking
    from cli.times import parse_duration_s

    timeout_s = parse_duration_s(timeout)
    loss = f"Removing app {app}{' with the data of its volumes' if volumes else ''}"
    asking.confirm_loss(loss, name=app, yes=yes)
    answer = session.client.delete(path_of("apps", app), project=session.project, volumes=volumes or None)
    if wait:
        answer["operations"] = _wait_for(session, answer, doing="Removing", timeout_s=timeout_s)
    if session.screen.data(answer, name=answer["app"]):
        return
    session.screen.say(f"{answer['app']} is removed." if wait else f"{answer['app']} is being removed.")
    if not volumes:
        session.screen.note("Volumes that it had are kept: `lattice volume ls`.")
