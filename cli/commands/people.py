"""`user …`, `token …`, `project …`: who may do what, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import YesOption, command, group
from cli.commands import sre
from cli.session import Session

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="A user's name.")]
RolesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        metavar="PROJECT=ROLE",
        help="viewer, deployer, operator or admin; '*=admin' for the whole platform.",
    ),
]


def register(app: typer.Typer) -> None:
    user = group("user", summary="Users and their roles.")
    token = group("token", summary="Your API tokens, for scripts.")
    project = group("project", summary="Projects: the boundary of names, rights and secrets.")
    for noun in (user, token, project):
        app.add_typer(noun)
    command(user, "ls", in_project=False)(list_users)
    command(user, "create", in_project=False, example="lattice user create ada --role default=deployer")(
        create_user
    )
    command(user, "role", in_project=False, example="lattice user role ada --role '*=viewer'")(set_roles)
    command(user, "password", in_project=False)(set_password)
    command(user, "rm", in_project=False)(remove_user)
    sre.register(user)
    command(token, "ls", in_project=False)(list_tokens)
    command(token, "create", example="lattice token create ci --role deployer --days 30")(create_token)
    command(token, "rm", in_project=False)(remove_token)
    command(project, "ls", in_project=False)(list_projects)
    command(project, "create", in_project=False, example="lattice project create shop")(create_project)


def roles_text(user: dict[str, Any]) -> str:
    return ", ".join(f"{project}={role}" for project, role in (user.get("roles") or {}).items())


def list_users(session: Session) -> None:
    """List the users."""
    from cli.tables import Column, field
    from cli.times import ago

    columns = (
        field("NAME", "username", whole=True),
        Column("ROLES", lambda u, _now: roles_text(dict(u))),
        Column("AGE", lambda u, now: ago(u.get("created_at"), now=now), leave_out=1),
    )
    session.screen.listing(session.client.listing(path_of("users")), columns, empty="There are no users.")


def create_user(
    session: Session,
    name: UserArgument,
    *,
    roles: RolesOption = None,
    password: Annotated[
        bool, typer.Option("--password/--no-password", help="Without one, only API tokens work.")
    ] = True,
) -> None:
    """Create a user; the password is asked for or read from stdin."""
    from cli import asking

    body: dict[str, Any] = {"username": name, "roles": read_roles(roles or ())}
    if password:
        body["password"] = asking.password(f"Password of {name}", again=True)
    made = session.client.post(path_of("users"), body)
    if not session.screen.data(made):
        session.screen.say(f"User {name} is created ({roles_text(made) or 'no roles yet'}).")
        session.screen.hint(f"lattice login URL --user {name}")


def read_roles(texts: Sequence[str]) -> dict[str, str]:
    """`PROJECT=ROLE` options as a mapping; a role alone is the likeliest mistake."""
    from cli.errors import usage
    from cli.run_options import read_pairs

    for text in texts:
        if "=" not in text:
            raise usage(
                f"Cannot read --role {text!r}: a role is held in a project.",
                todo=f"write --role default={text}, or --role '*={text}' for the whole platform",
            )
    return read_pairs(texts, option="--role")


def set_roles(session: Session, name: UserArgument, *, roles: RolesOption = None) -> None:
    """Replace a user's roles by the given ones."""
    changed = session.client.patch(path_of("users", name), {"roles": read_roles(roles or ())})
    if not session.screen.data(changed):
        session.screen.say(f"{name}: {roles_text(changed) or 'no roles'}")


def set_password(session: Session, name: UserArgument) -> None:
    """Set a user's password; for your own, the present one is asked for first."""
    from cli import asking

    mine = session.client.get("/v1/me").get("username") == name
    body = {"current_password": asking.password("Present password")} if mine else {}
    body["password"] = asking.password(f"New password of {name}", again=True)
    changed = session.client.patch(path_of("users", name), body)
    if not session.screen.data(changed):
        session.screen.say(f"The password of {name} is changed.")


def remove_user(session: Session, name: UserArgument, *, yes: YesOption = False) -> None:
    """Remove a user with their tokens."""
    from cli import asking

    asking.confirm_loss(f"Removing user {name}", name=name, yes=yes)
    session.client.delete(path_of("users", name))
    if not session.screen.data({"name": name}):
        session.screen.say(f"User {name} is removed.")


def list_tokens(
    session: Session,
    *,
    everybody: Annotated[bool, typer.Option("--everybody", help="Of all users (admins only).")] = False,
) -> None:
    """List API tokens; never the tokens themselves."""
    from cli.tables import Column, field
    from cli.times import ago

    columns = (
        field("ID", "id", whole=True),
        field("NAME", "name"),
        field("USER", "user", leave_out=2),
        field("ROLE", "role", leave_out=1),
        field("PROJECT", "project", leave_out=3),
        Column("USED", lambda t, now: ago(t.get("last_used_at"), now=now), leave_out=4),
        Column("EXPIRES IN", lambda t, now: ago(t.get("expires_at"), now=now)),
    )
    data = session.client.listing(path_of("tokens"), owner="everybody" if everybody else None)
    session.screen.listing(
        data, columns, empty="You have no API tokens. `lattice token create NAME` makes one."
    )


def create_token(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    *,
    role: Annotated[
        str | None, typer.Option(metavar="ROLE", help="At most this role.", show_default=False)
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=90, help="How long it is valid.")] = 30,
) -> None:
    """Create an API token for yourself; it is shown only now.  With --project, for that project only."""
    body = {"name": name, "expires_in_days": days, "role": role, "project": session.options.project}
    made = session.client.post(
        path_of("tokens"), {key: value for key, value in body.items() if value is not None}
    )
    if not session.screen.data(made, name=made["token"]):
        session.screen.say(made["token"])
        session.screen.note(f"Keep it now: it is not shown again. It expires on {made['expires_at'][:10]}.")


def remove_token(session: Session, token: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Revoke an API token."""
    session.client.delete(path_of("tokens", token))
    if not session.screen.data({"id": token}):
        session.screen.say(f"{token} is revoked.")


def list_projects(session: Session) -> None:
    """List the projects that you can see."""
    from cli.tables import Column, field
    from cli.times import ago

    columns = (
        field("NAME", "name", whole=True),
        Column("AGE", lambda p, now: ago(p.get("created_at"), now=now)),
    )
    session.screen.listing(
        session.client.listing(path_of("projects")), columns, empty="There is no project that you can see."
    )


def create_project(session: Session, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Create a project."""
    made = session.client.post(path_of("projects"), {"name": name})
    if not session.screen.data(made):
        session.screen.say(f"Project {name} is created.")
        session.screen.hint(f"lattice ps --project {name}", f"LATTICE_PROJECT={name}")
