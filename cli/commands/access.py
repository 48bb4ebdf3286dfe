"""`login`, `ctx …` and `ca`: which platforms this person knows, as whom, and by which CA.

A platform with a certificate of its own CA is trusted after a person compared the CA's fingerprint, or was given it beforehand; from then on
every connection is verified by that CA.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from cli.client_paths import path_of
from cli.command import command, group
from cli.context import ContextBook, Endpoint, clean_url, read_ca, save_book
from cli.session import Session


def register(app: typer.Typer) -> None:
    command(app, "login", in_project=False, example=_EXAMPLE)(login)
    command(app, "ca", in_project=False, example="lattice ca > lattice-ca.pem")(show_ca)
    ctx = group("ctx", summary="Platforms that you signed in to.")
    app.add_typer(ctx)
    command(ctx, "ls", in_project=False)(list_contexts)
    command(ctx, "use", in_project=False, example="lattice ctx use home")(use)
    command(ctx, "rm", in_project=False)(remove)


_EXAMPLE = """lattice login https://lattice.example.com
lattice login https://10.0.0.5:8443 --ca ca.pem --token - < token.txt"""


def login(
    session: Session,
    url: Annotated[str, typer.Argument(metavar="URL", help="The platform's address.")],
    *,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Sign in with this API token; - reads stdin.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", "-u", metavar="NAME", help="Sign in as this user.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(metavar="FILE", help="Trust this CA (PEM).")] = None,
    fingerprint: Annotated[
        str | None,
        typer.Option(
            metavar="SHA256", help="Trust the CA that the platform shows if it has this fingerprint."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call the context; default: the host.")
    ] = None,
) -> None:
    """Sign in to a platform and use it from now on."""
    from cli import signing_in

    address = clean_url(url)
    book = session.book()
    ca_file = ca or session.environment.ca_file
    trusted = signing_in.trusted_endpoint(
        session, address, ca_pem=read_ca(ca_file) if ca_file else None, fingerprint=fingerprint
    )
    given = sys.stdin.readline().strip() if token == "-" else token
    endpoint = replace(trusted, token=given or signing_in.token_by_password(session, trusted, user=user))
    me = session.client_for(endpoint).get("/v1/me")
    endpoint = replace(endpoint, user=str(me.get("username") or ""))
    context = name or urlsplit(address).hostname or address
    save_book(session.environment.contexts_file, book.with_context(context, endpoint))
    if not session.screen.data(me):
        session.screen.say(f"Signed in to {address} as {endpoint.user}; context {context}.")
        session.screen.hint("lattice node ls", "lattice ps")


def show_ca(session: Session) -> None:
    """Print the platform's CA (PEM): for browsers and programs that are to trust its HTTPS and the certificates of its templates."""
    pem = session.client.send("GET", path_of("ca")).text
    if not session.screen.data({"ca": pem}, name=pem.strip()):
        session.screen.write(pem.strip())


def list_contexts(session: Session) -> None:
    """List the platforms that you signed in to."""
    from cli.tables import field

    book = session.book()
    columns = (
        field(" ", "mark"),
        field("NAME", "name", whole=True),
        field("URL", "url", whole=True),
        field("USER", "user"),
    )
    data = {
        "items": [_row(name, endpoint, book) for name, endpoint in book.contexts.items()],
        "next_page_token": None,
    }
    session.screen.listing(data, columns, empty="There is no context yet. `lattice login URL` makes one.")


def _row(name: str, endpoint: Endpoint, book: ContextBook) -> dict[str, Any]:
    current = name == book.current
    return {
        "name": name,
        "url": endpoint.url,
        "user": endpoint.user,
        "current": current,
        "mark": "*" if current else " ",
    }


def use(session: Session, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Use another platform from now on."""
    book = session.book().using(name)
    save_book(session.environment.contexts_file, book)
    if not session.screen.data({"name": name, "url": book.contexts[name].url}):
        session.screen.say(f"Now using {name} ({book.contexts[name].url}).")
    if session.environment.url or session.environment.data_dir_chosen:
        session.screen.note("LATTICE_URL or LATTICE_DATA_DIR is set and goes before it.")


def remove(session: Session, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Forget a platform and the token for it."""
    book = session.book().without(name)
    save_book(session.environment.contexts_file, book)
    if not session.screen.data({"name": name}):
        session.screen.say(f"{name} is forgotten.")
