"""Which platform a command talks to.

An address in the environment comes first; then, if LATTICE_DATA_DIR was chosen, the platform that runs from that folder; then the current
context (`lattice login`); then the platform of this machine's usual data folder.  A chosen data folder without a platform is an error
and never falls through to another platform: `lattice rm` must not hit the wrong one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli.errors import CliError, usage
from cli.settings import Environment
from lattice.files import write_durably

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A platform's gateway: where, as whom, and the CA to trust (None: the machine's own trust store)."""

    url: str
    token: str | None = None
    ca_pem: str | None = None
    user: str = ""


@dataclass(frozen=True, slots=True)
class ContextBook:
    """The platforms that this person signed in to."""

    current: str | None = None
    contexts: dict[str, Endpoint] = field(default_factory=dict)

    def with_context(self, name: str, endpoint: Endpoint) -> ContextBook:
        return ContextBook(current=name, contexts={**self.contexts, name: endpoint})

    def without(self, name: str) -> ContextBook:
        """The book without a context; an unknown name is an error."""
        current = None if self.using(name).current == self.current else self.current
        return ContextBook(current, {key: value for key, value in self.contexts.items() if key != name})

    def using(self, name: str) -> ContextBook:
        """The book with another current context; an unknown name is an error."""
        if name not in self.contexts:
            known = ", ".join(self.contexts) or "none yet: `lattice login URL` makes one"
            raise CliError(f"There is no context {name!r}.", todo=f"use one of: {known}")
        return replace(self, current=name)


def clean_url(url: str) -> str:
    """The address as it is kept: with a scheme, without a path.  Plain HTTP is refused, since the token would travel readable."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    try:
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise usage(f"{url!r} is not an address: {error}.") from error
    if not host or parts.scheme not in ("https", "http") or parts.path.strip("/") or parts.query:
        raise usage(f"{url!r} is not the address of a platform.", todo="write it as https://HOST:PORT")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise usage(f"{url} is not encrypted, so the token could be read on the way.", todo="use https://")
    return f"{parts.scheme}://{parts.netloc}"


def load_book(path: Path) -> ContextBook:
    """The stored contexts; an empty book if there are none yet."""
    try:
        stored = json.loads(path.read_text())
        contexts = {name: _endpoint(entry) for name, entry in stored["contexts"].items()}
        return ContextBook(current=stored["current"], contexts=contexts)
    except FileNotFoundError:
        return ContextBook()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CliError(
            f"The contexts in {path} cannot be read.",
            why=str(error),
            todo="repair or remove the file, then `lattice login`",
        ) from error


def _endpoint(entry: dict[str, Any]) -> Endpoint:
    return Endpoint(entry["url"], entry.get("token"), entry.get("ca_pem"), entry.get("user", ""))


def save_book(path: Path, book: ContextBook) -> None:
    """Keeps the contexts readable by their owner alone: they hold tokens."""
    contexts = {name: asdict(endpoint) for name, endpoint in book.contexts.items()}
    content = json.dumps({"current": book.current, "contexts": contexts}, indent=2)
    try:
        write_durably(path, content.encode() + b"\n", mode=0o600)
    except OSError as error:
        raise CliError(f"Cannot write {path}: {error.strerror}.") from error


def local_platform(data_dir: Path) -> Endpoint | None:
    """The platform that was started from `data_dir`, if its file is there and this user may read it."""
    try:
        stored = json.loads((data_dir / "run" / "platform.json").read_text())
        return Endpoint(clean_url(stored["url"]), stored["token"], _pem(stored.get("ca")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _pem(ca: str | None) -> str | None:
    return ca if ca is None or ca.startswith("-----BEGIN") else read_ca(Path(ca))


def read_ca(path: Path) -> str:
    """The certificates in a CA file, as PEM."""
    try:
        pem = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise usage(f"Cannot read the CA file {path}: {error}.") from error
    if "-----BEGIN CERTIFICATE-----" not in pem:
        raise usage(f"{path} holds no certificate in PEM form.")
    return pem


def choose(environment: Environment, book: ContextBook, platform: Endpoint | None) -> Endpoint:
    """The platform to talk to; see the module's first paragraph for the order."""
    found = _by_url(environment, book, platform) or _stored(environment, book, platform)
    return replace(
        found,
        token=environment.token or found.token,
        ca_pem=read_ca(environment.ca_file) if environment.ca_file else found.ca_pem,
    )


def _by_url(environment: Environment, book: ContextBook, platform: Endpoint | None) -> Endpoint | None:
    """The address from the environment, with what is known about that address already."""
    if environment.url is None:
        return None
    url = clean_url(environment.url)
    known = [*book.contexts.values(), *([platform] if platform else [])]
    return next((endpoint for endpoint in known if endpoint.url == url), Endpoint(url))


def _stored(environment: Environment, book: ContextBook, platform: Endpoint | None) -> Endpoint:
    if environment.data_dir_chosen and platform is None:
        raise CliError(
            f"No platform was started from {environment.data_dir}.",
            why="LATTICE_DATA_DIR names this folder, and it has no run/platform.json that you may read",
            todo="start it with `lattice up --detach --wait`, or unset LATTICE_DATA_DIR",
        )
    current = book.contexts.get(book.current) if book.current else None
    found = platform if environment.data_dir_chosen else current or platform
    if found is None:
        raise CliError(
            "No platform is known yet.",
            todo="start one here with `lattice up --detach --wait`, or sign in to one with `lattice login URL`",
        )
    return found
