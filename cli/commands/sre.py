"""`user sre-…`: credentials with which any client of NATS hears alerts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import YesOption, command
from cli.session import Session

CredentialArgument = Annotated[str, typer.Argument(metavar="NAME", help="The credential's name.")]


def register(user: typer.Typer) -> None:
    command(user, "sre-credential", example="lattice user sre-credential pager --to ./pager --may-order")(
        create
    )
    command(user, "sre-credentials", in_project=False)(list_credentials)
    command(user, "sre-revoke", in_project=False, example="lattice user sre-revoke pager --yes")(revoke)


def create(
    session: Session,
    name: CredentialArgument,
    *,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="A new or empty folder for its files.")],
    may_order: Annotated[
        bool, typer.Option("--may-order", help="It may acknowledge, silence and resolve as well.")
    ] = False,
    days: Annotated[int, typer.Option("--days", min=1, max=366, help="For how long it holds.")] = 90,
) -> None:
    """Make a credential that hears alerts at the bus itself: of every project, or with --project of one."""
    from cli import sre_files

    sre_files.check_empty(to)
    body = {"name": name, "may_order": may_order, "expires_in_days": days}
    project = session.options.project or session.environment.project
    made = session.client.post(path_of("sre-credentials"), body | ({"project": project} if project else {}))
    sre_files.write(to, made)
    if session.screen.data(_shown(made), name=name):
        return
    session.screen.note(f"Its files are in {to}; whoever has them hears alerts until {made['expires_at']}.")
    session.screen.say(sre_files.subscribe_command(to, made))
    if may_order:
        session.screen.say(sre_files.order_command(to, made))


def _shown(made: dict[str, Any]) -> dict[str, Any]:
    """All but what is secret: that is in the files, and needs no second place."""
    return {key: value for key, value in made.items() if key not in ("private_key", "creds")}


def list_credentials(session: Session) -> None:
    """List who may hear alerts at the bus."""
    from cli.tables import Column, field
    from cli.times import ago

    columns = (
        field("NAME", "name", whole=True),
        Column("ALERTS OF", lambda c, _now: c.get("project") or "every project"),
        Column("MAY", lambda c, _now: "hear, order" if c["may_order"] else "hear"),
        Column("STATE", lambda c, now: state(dict(c), now.isoformat())),
        Column("EXPIRES", lambda c, now: f"in {ago(c['expires_at'], now=now)}", leave_out=1),
        field("BY", "created_by", leave_out=2),
    )
    session.screen.listing(
        session.client.listing(path_of("sre-credentials")),
        columns,
        empty="Nobody yet: `lattice user sre-credential NAME --to DIR` makes a credential.",
    )


def state(credential: dict[str, Any], now: str) -> str:
    """Whether it holds."""
    from cli.times import parse_time

    if credential.get("revoked_at"):
        return "revoked"
    return "active" if parse_time(credential["expires_at"]) > parse_time(now) else "expired"


def revoke(session: Session, name: CredentialArgument, *, yes: YesOption = False) -> None:
    """Take a credential back: it is cut at once."""
    from cli import asking

    asking.confirm_loss(f"Revoking {name}", name=name, yes=yes)
    ended = session.client.delete(path_of("sre-credentials", name))
    if not session.screen.data(ended):
        session.screen.say(f"{name} is revoked.")
