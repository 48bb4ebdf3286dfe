"""`node …`: machines: let them in, look at them, take work off them, remove them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import TimeoutOption, WaitOption, YesOption, command, group
from cli.session import Session

Json = dict[str, Any]
NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="A node's name or id.")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the record.")]
_TIMEOUT = "2m"


def register(app: typer.Typer) -> None:
    node = group("node", summary="Machines: let them in, look at them, remove them.")
    app.add_typer(node)
    for name, function, example in (
        ("token", token, "lattice node token --pool default --label zone=home"),
        ("ls", list_nodes, "lattice node ls"),
        ("show", show, "lattice node show attic"),
        ("events", events, "lattice node events attic"),
        ("approve", approve, "lattice node approve attic"),
        ("reject", reject, ""),
        ("revoke", revoke, "lattice node revoke attic --reason 'sold' --yes"),
        ("cordon", cordon, ""),
        ("uncordon", uncordon, ""),
        ("drain", drain, "lattice node drain attic --deadline 30m"),
        ("confirm-lost", confirm_lost, "lattice node confirm-lost attic shed"),
        ("label", label, "lattice node label attic zone=home disk=ssd old-"),
        ("rm", remove, "lattice node rm attic --yes"),
        ("join", join, "lattice node join lattice-join.… --name attic"),
    ):
        command(node, name, example=example, in_project=False)(function)


def token(
    session: Session,
    *,
    pool: Annotated[str, typer.Option(metavar="NAME", help="The pool that the node joins.")] = "default",
    labels: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label of the node.")
    ] = None,
    ttl: Annotated[str, typer.Option(metavar="DURATION", help="How long it can be used, once.")] = "15m",
    auto_approve: Annotated[
        bool, typer.Option("--auto-approve", help="Let the node in without another question.")
    ] = False,
) -> None:
    """Make a join token and show the command for the new machine."""
    from cli.run_options import read_pairs
    from cli.times import parse_duration_s, to_the_second

    body = {
        "pool": pool,
        "labels": read_pairs(labels or (), option="--label"),
        "ttl_s": parse_duration_s(ttl),
        "auto_approve": auto_approve,
    }
    made = session.client.post(path_of("join-tokens"), body)
    if session.screen.data(made, name=made["token"]):
        return
    session.screen.note(f"Run this on the new machine, once, before {to_the_second(made['expires_at'])}:")
    session.screen.say(made["command"])
    if not auto_approve:
        session.screen.hint("lattice node ls", "lattice node approve NAME")


def list_nodes(
    session: Session,
    *,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="Only nodes in this state, such as pending.")
    ] = None,
) -> None:
    """List the nodes."""
    from cli.node_text import COLUMNS

    data = session.client.listing(path_of("nodes"), state=state)
    session.screen.listing(
        data, COLUMNS, empty="There is no such node. `lattice node token` shows how to add one."
    )
    waiting = [node["name"] for node in data["items"] if node["state"] == "pending"]
    if waiting:
        session.screen.hint(*(f"lattice node approve {name}" for name in waiting[:3]))


def show(session: Session, node: NodeArgument) -> None:
    """Show a node: state, fingerprint, resources, versions."""
    from cli import node_text

    found = session.client.get(path_of("nodes", node))
    if not session.screen.data(found):
        node_text.show(session.screen, found, now=session.screen.now())


def events(
    session: Session,
    node: NodeArgument,
    *,
    count: Annotated[int, typer.Option("--lines", "-n", min=1, help="The newest N events.")] = 50,
) -> None:
    """List what happened to a node and on it, oldest first."""
    from cli import fact_text

    facts = fact_text.of_one(session, "nodes", node, count=count)
    fact_text.print_past(session, facts, follow=False)


def approve(
    session: Session,
    node: NodeArgument,
    *,
    fingerprint: Annotated[
        str | None,
        typer.Option(
            metavar="FINGERPRINT", help="Approve only if the machine shows this one.", show_default=False
        ),
    ] = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = _TIMEOUT,
) -> None:
    """Let a machine in.  Compare its fingerprint with the one that it shows."""
    from cli import tls
    from cli.errors import CliError

    found = session.client.get(path_of("nodes", node))
    if fingerprint and not tls.same_fingerprint(fingerprint, found["fingerprint"]):
        raise CliError(
            f"{node} was not approved: its fingerprint is {found['fingerprint']}.",
            why="this is not the machine whose fingerprint you gave",
            todo=f"look at both machines; `lattice node reject {node}` turns it away",
        )
    # The id, not the name: the machine that was compared is the one that is let in.
    answer = session.client.post(path_of("nodes", found["id"], "approve"), {})
    answer = _ready(session, found["id"], timeout) if wait else answer
    if not session.screen.data(answer):
        session.screen.say(f"{found['name']} is approved; its fingerprint is {found['fingerprint']}.")
        session.screen.hint(f"lattice node show {found['name']}")


def _ready(session: Session, node_id: str, timeout: str) -> Json:
    from cli.node_waiting import wait_until_ready
    from cli.times import parse_duration_s

    return wait_until_ready(session, node_id, timeout_s=parse_duration_s(timeout))


def reject(session: Session, node: NodeArgument, *, reason: ReasonOption = "") -> None:
    """Turn away a machine that asks to come in."""
    _act(session, node, "reject", "rejected", reason=reason)


def revoke(
    session: Session, node: NodeArgument, *, reason: ReasonOption = "", yes: YesOption = False
) -> None:
    """Take a node's membership away at once; its containers are left running."""
    from cli import asking

    asking.confirm_loss(f"Revoking {node}", name=node, yes=yes)
    _act(session, node, "revoke", "revoked", reason=reason)


def cordon(session: Session, node: NodeArgument, *, reason: ReasonOption = "") -> None:
    """Give a node no new work; what runs there stays."""
    _act(session, node, "cordon", "cordoned", reason=reason)


def uncordon(session: Session, node: NodeArgument) -> None:
    """Give a node new work again."""
    _act(session, node, "uncordon", "open for work again", reason="")


def drain(
    session: Session,
    node: NodeArgument,
    *,
    deadline: Annotated[
        str, typer.Option("--deadline", metavar="DURATION", help="When it is given up.")
    ] = "1h",
    reason: ReasonOption = "",
    wait: WaitOption = True,
    timeout: TimeoutOption = "1h",
) -> None:
    """Give a node no new work and move what is there to others.  Data is not moved: what holds it is named."""
    from cli.progress import finish
    from cli.times import parse_duration_s

    body = {"deadline_s": parse_duration_s(deadline), "reason": reason}
    answer = session.client.post(path_of("nodes", node, "drain"), body)
    operation = finish(session, answer, what=f"Draining {node}", wait=wait, timeout=timeout)
    if session.screen.data(operation if wait else answer):
        return
    if wait:
        moved = ((operation or {}).get("result") or {}).get("moved", 0)
        session.screen.say(f"{node} is drained: {moved} moved. It takes no new work.")
        session.screen.hint(f"lattice node uncordon {node}", f"lattice node rm {node}")
    else:
        session.screen.say(f"{node} is being drained: operation {answer['operation']['id']}.")


def confirm_lost(
    session: Session,
    nodes: Annotated[list[str], typer.Argument(metavar="NODE...", help="Names or ids of nodes.")],
    *,
    reason: ReasonOption = "",
) -> None:
    """Say that nodes which cannot be reached will not come back soon: their stateless work moves now."""
    answers = []
    for node in nodes:
        body = {"reason": reason} if reason else {}
        answers.append(session.client.post(path_of("nodes", node, "confirm-lost"), body))
    if session.screen.data(answers[0] if len(answers) == 1 else {"items": answers}):
        return
    for answer in answers:
        session.screen.say(f"{answer['name']} counts as lost: its stateless work moves now.")


def _act(session: Session, node: str, verb: str, done: str, *, reason: str) -> None:
    answer = session.client.post(path_of("nodes", node, verb), {"reason": reason} if reason else {})
    if not session.screen.data(answer):
        session.screen.say(f"{node} is {done}.")


def label(
    session: Session,
    node: NodeArgument,
    labels: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE|KEY-]...", show_default=False)
    ] = None,
    *,
    pool: Annotated[
        str | None, typer.Option(metavar="NAME", help="Move the node to this pool.", show_default=False)
    ] = None,
) -> None:
    """Set labels of a node; KEY- takes one away."""
    from cli import node_text
    from cli.errors import usage

    if not labels and pool is None:
        raise usage("There is nothing to change.", todo="give KEY=VALUE, KEY- or --pool NAME")
    found = session.client.get(path_of("nodes", node))
    change: Json = {"labels": with_labels(found.get("labels") or {}, labels)} if labels else {}
    change |= {"pool": pool} if pool else {}
    changed = session.client.patch(path_of("nodes", found["id"]), change, if_match=f'"{found["version"]}"')
    if not session.screen.data(changed):
        session.screen.say(f"{found['name']}: {node_text.labels({**found, **change}) or 'no labels'}")


def with_labels(labels: dict[str, str], changes: list[str]) -> dict[str, str]:
    """`labels` after `KEY=VALUE` and `KEY-`."""
    from cli.run_options import read_pairs

    gone = {change.removesuffix("-") for change in changes if change.endswith("-") and "=" not in change}
    added = read_pairs(
        [change for change in changes if not (change.endswith("-") and "=" not in change)], option="label"
    )
    return {**{key: value for key, value in labels.items() if key not in gone}, **added}


def remove(session: Session, node: NodeArgument, *, yes: YesOption = False) -> None:
    """Remove a node from the platform for good."""
    from cli import asking

    asking.confirm_loss(f"Removing node {node}", name=node, yes=yes)
    answer = session.client.delete(path_of("nodes", node))
    if not session.screen.data(answer if answer is not None else {"name": node}):
        session.screen.say(f"{node} is removed.")


def join(
    session: Session,
    token: Annotated[str, typer.Argument(help="From `lattice node token`.")],
    *,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the agent keeps its state.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The node's name; default: the host's.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run the agent in the background.")] = False,
) -> None:
    """Ask to make this machine a node, and run its agent."""
    from cli import agent_process

    settings = agent_process.AgentSettings(token=token, data_dir=data_dir, name=name)
    if not detach:
        agent_process.become(settings)
    started = agent_process.start_detached(settings, default_data_dir=session.environment.data_dir)
    if not session.screen.data({"pid": started.pid, "log": str(started.log)}, name=str(started.pid)):
        session.screen.say(f"The agent runs in the background: process {started.pid}, log {started.log}.")
        session.screen.note("An administrator now approves it: lattice node ls, lattice node approve NAME")
