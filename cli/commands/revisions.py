"""`update`, `scale`, `history`, `diff`, `rollback`: a workload over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import TimeoutOption, WaitOption, command
from cli.commands.deploying import SetOption, schema_of, with_sets
from cli.commands.reading import NameArgument
from cli.errors import CliError, usage
from cli.session import Session

Json = dict[str, Any]
_TIMEOUT = "10m"
RevisionArgument = Annotated[int, typer.Argument(metavar="REV", min=1, help="From `lattice history`.")]


def register(app: typer.Typer) -> None:
    command(app, "update", example=_UPDATE_EXAMPLE)(update)
    command(app, "scale", example="lattice scale web 3")(scale)
    command(app, "history", example="lattice history web")(history)
    command(app, "diff", example="lattice diff web 1 2")(diff)
    command(app, "rollback", example="lattice rollback web\nlattice rollback web 3")(rollback)


_UPDATE_EXAMPLE = """lattice update web --set image=ghcr.io/acme/web:1.5
lattice update orders-db --set resources.memory=1Gi"""


def update(
    session: Session,
    name: NameArgument,
    *,
    sets: SetOption = None,
    wait: WaitOption = True,
    timeout: TimeoutOption = _TIMEOUT,
) -> None:
    """Roll out a change of a workload; the old instances serve until the new ones do."""
    if not sets:
        raise usage("Nothing to change.", todo="say what with --set, e.g. --set image=nginx:1.28")
    found = session.client.get(path_of("workloads", name), project=session.project)
    template = found["spec"].get("template")
    schema = schema_of(session, str(template)) if template else None
    spec = with_sets(found["spec"], sets, schema=schema)
    send_update(
        session, spec, project=session.project, if_match=f'"{found["version"]}"', wait=wait, timeout=timeout
    )


def send_update(
    session: Session,
    spec: Json,
    *,
    project: str,
    if_match: str | None,
    wait: bool,
    timeout: str,
    adopt: bool = False,
) -> None:
    """Send a whole spec for a workload that is there, and watch it being rolled out."""
    name = str(spec["name"])
    path = path_of("workloads", name)
    answer = session.client.put(path, spec, if_match=if_match, project=project, adopt=adopt or None)
    _say_order(session, answer)
    _watch(session, answer, name=name, doing="Updating", wait=wait, timeout=timeout)


def _say_order(session: Session, answer: Json) -> None:
    """Where another order than the usual one is safe, it is said before anything is waited for."""
    rollout = (answer.get("workload") or {}).get("rollout") or {}
    if rollout.get("state") == "running" and rollout.get("reason"):
        session.screen.note(f"Updating {rollout['reason']}.")


def scale(
    session: Session,
    name: NameArgument,
    replicas: Annotated[int, typer.Argument(metavar="K", min=0, help="How many instances.")],
    *,
    wait: WaitOption = True,
    timeout: TimeoutOption = _TIMEOUT,
) -> None:
    """Change how many instances run; those that stay are not touched."""
    body = {"replicas": replicas}
    answer = session.client.post(path_of("workloads", name, "scale"), body, project=session.project)
    _watch(session, answer, name=name, doing="Scaling", wait=wait, timeout=timeout)


def rollback(
    session: Session,
    name: NameArgument,
    revision: Annotated[
        int | None, typer.Argument(metavar="[REV]", min=1, help="The newest that worked, if left out.")
    ] = None,
    *,
    wait: WaitOption = True,
    timeout: TimeoutOption = _TIMEOUT,
) -> None:
    """Run an earlier revision again: image, environment, versions of secrets.  The number of instances stays."""
    body = None if revision is None else {"revision": revision}
    answer = session.client.post(path_of("workloads", name, "rollback"), body, project=session.project)
    _watch(session, answer, name=name, doing="Rolling back", wait=wait, timeout=timeout)


def _watch(session: Session, answer: Json, *, name: str, doing: str, wait: bool, timeout: str) -> None:
    from cli.progress import finish

    operation = finish(session, answer, what=f"{doing} {name}", wait=wait, timeout=timeout)
    if not wait:
        if not session.screen.data(answer):
            session.screen.say(f"Accepted for {name}: operation {answer['operation']['id']}.")
        return
    workload = session.client.get(path_of("workloads", name), project=answer["operation"].get("project"))
    if session.screen.data(workload):
        return
    session.screen.say(_done_text(workload, operation or {}))
    session.screen.hint(f"lattice show {name}", f"lattice history {name}")


def _done_text(workload: Json, operation: Json) -> str:
    from cli.job_text import is_job
    from cli.workload_text import ready

    name, revision = workload["name"], workload["revision"]
    if (operation.get("result") or {}).get("changed") is False:
        return f"{name} is as asked for already, at revision {revision}: {ready(workload)} ready."
    if is_job(workload):
        return f"{name} is at revision {revision}."
    return f"{name} is at revision {revision}: {ready(workload)} ready."


def history(session: Session, name: NameArgument) -> None:
    """List the revisions of a workload, newest first, and what became of each."""
    from cli.tables import Column, field
    from cli.times import ago

    data = session.client.get(path_of("workloads", name, "revisions"), project=session.project)
    columns = (
        field("REV", "number", right=True, whole=True),
        Column("NOW", lambda r, _now: "●" if r.get("current") else ""),
        Column("AGE", lambda r, now: ago(r.get("created_at"), now=now), leave_out=2),
        field("BY", "created_by", leave_out=3),
        Column("REPLICAS", lambda r, _now: r["spec"].get("replicas"), right=True, leave_out=4),
        field("IMAGE", "image", leave_out=1),
        Column("OUTCOME", lambda r, _now: _outcome(r)),
    )
    session.screen.listing(data, columns, empty="No revisions.")


def _outcome(revision: Mapping[str, Any]) -> str:
    rollout = revision.get("rollout") or {}
    words = str(rollout.get("state") or "").replace("_", " ")
    failed = words in ("rolling back", "rolled back", "failed")
    return f"{words}: {rollout['reason']}" if failed and rollout.get("reason") else words


def diff(session: Session, name: NameArgument, before: RevisionArgument, after: RevisionArgument) -> None:
    """Show what changed between two revisions of a workload."""
    data = session.client.get(path_of("workloads", name, "revisions"), project=session.project)
    known = {revision["number"]: revision for revision in data["items"]}
    for number in (before, after):
        if number not in known:
            raise CliError(
                f"{name} has no revision {number}.", todo=f"it has {', '.join(map(str, sorted(known)))}"
            )
    from cli.spec_diff import spec_diff

    lines = spec_diff(known[before], known[after])
    if not session.screen.data({"before": before, "after": after, "lines": lines}):
        for line in lines or (f"Revisions {before} and {after} are the same.",):
            session.screen.say(line)
