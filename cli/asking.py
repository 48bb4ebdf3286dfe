"""Questions to a person: the name typed before something is lost, passwords, secrets.  Never asked where nobody can answer."""

from __future__ import annotations

import sys

import typer

from cli.errors import CliError, usage
from cli.sanitize import clean_line


def can_ask() -> bool:
    """Whether a person sits at the other end of stdin."""
    return sys.stdin.isatty()


def confirm_loss(what: str, *, name: str, yes: bool) -> None:
    """Makes a person type the name of what is about to be lost; without a person, --yes is needed."""
    if yes:
        return
    if not can_ask():
        raise usage(f"{what} cannot be undone.", todo="add --yes to do it without a question")
    typed = typer.prompt(clean_line(f"{what} cannot be undone. Type {name} to go on"), err=True)
    if typed != name:
        raise CliError("Nothing was changed.", why=f"{typed!r} is not {name!r}")


def agree(question: str) -> bool:
    """Yes or no; no where nobody can answer."""
    return can_ask() and typer.confirm(clean_line(question), err=True)


def password(label: str, *, again: bool = False) -> str:
    """A password: typed unseen, or the first line of stdin.  Never an argument, which every user of the machine can read."""
    if can_ask():
        return str(typer.prompt(label, hide_input=True, confirmation_prompt=again, err=True))
    given = sys.stdin.readline().removesuffix("\n")
    if not given:
        raise usage(f"{label} is missing.", todo="write it to stdin, or run the command on a terminal")
    return given


def secret(label: str) -> str:
    """A secret of any length: typed unseen, or all of stdin without its last newline (`echo` adds one)."""
    if can_ask():
        return str(typer.prompt(label, hide_input=True, err=True))
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise usage(
            "The secret on stdin is not UTF-8 text.", todo="encode it first, for example with base64"
        ) from error
