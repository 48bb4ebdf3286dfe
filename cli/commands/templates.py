"""`template …`: the service catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli.client_paths import path_of
from cli.command import command, group
from cli.session import Session


def register(app: typer.Typer) -> None:
    template = group("template", summary="The service catalogue.")
    app.add_typer(template)
    command(template, "ls", in_project=False)(list_templates)
    command(template, "show", in_project=False, example="lattice template show postgres")(show)


def list_templates(session: Session) -> None:
    """List what can be deployed with one command."""
    from cli.tables import field

    columns = (
        field("NAME", "name", whole=True),
        field("TITLE", "title", leave_out=1),
        field("DESCRIPTION", "description"),
    )
    session.screen.listing(session.client.get(path_of("templates")), columns, empty="The catalogue is empty.")
    session.screen.hint("lattice template show NAME", "lattice deploy TEMPLATE --name NAME")


def show(session: Session, name: Annotated[str, typer.Argument(metavar="TEMPLATE")]) -> None:
    """Show a template and the values that it takes."""
    from cli.errors import CliError
    from cli.tables import field

    found = {entry["name"]: entry for entry in session.client.get(path_of("templates"))["items"]}
    if name not in found:
        raise CliError(f"There is no template {name!r}.", todo=f"use one of {', '.join(found)}")
    template, screen = found[name], session.screen
    if screen.data(template):
        return
    screen.fields(
        (
            ("Name", template["name"]),
            ("Title", template.get("title")),
            ("Description", template.get("description")),
            ("Replicas", f"at most {template.get('max_replicas')}"),
            ("Images", ", ".join(template.get("images") or ())),
        )
    )
    values = value_rows(template["values_schema"])
    if values:
        screen.say("")
        screen.table([field(title, title) for title in ("VALUE", "TYPE", "DEFAULT", "MEANING")], values)
    screen.say("")
    screen.say(str(template.get("example") or "").strip())


def value_rows(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per value that a template takes."""
    required = schema.get("required") or ()
    return [
        {
            "VALUE": name,
            "TYPE": _type(value),
            "DEFAULT": "required" if name in required else _plain(value.get("default")),
            "MEANING": value.get("description") or value.get("title"),
        }
        for name, value in (schema.get("properties") or {}).items()
    ]


def _type(value: Mapping[str, Any]) -> str:
    if value.get("enum"):
        return " | ".join(map(str, value["enum"]))
    kinds = [choice.get("type") for choice in value.get("anyOf") or (value,)]
    return " | ".join(str(kind) for kind in kinds if kind and kind != "null")


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
