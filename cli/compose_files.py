"""A compose file on its way to the platform: its variables are filled here, with those of whoever applies it and of the `.env` beside the file.

Pure but for reading that file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.errors import CliError, usage
from lattice.compose_file.interpolation import BadVariable, Used, interpolate, read_env_file
from lattice.compose_file.names import plain_name

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filled:
    """The document with its variables filled, and what people should know about that."""

    document: Json
    notes: tuple[str, ...]


def fill(document: Json, file: str, variables: Mapping[str, str]) -> Filled:
    """Fill the variables of a file; those of the caller win over those of `.env`."""
    used = Used()
    try:
        known = {**_beside(file), **variables}
        filled = interpolate(document, known, used)
    except BadVariable as error:
        raise CliError(
            f"{file} cannot be applied.",
            why=str(error),
            todo="set the variable, or write $$ for a dollar sign",
        ) from error
    return Filled(filled, tuple(_notes(used)))


def _beside(file: str) -> dict[str, str]:
    folder = Path.cwd() if file == "-" else Path(file).parent
    try:
        return read_env_file((folder / ".env").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise usage(f"Cannot read {folder / '.env'}.") from error


def _notes(used: Used) -> list[str]:
    notes = []
    if used.filled:
        notes.append(f"Filled from your environment or .env: {', '.join(sorted(used.filled))}.")
    if used.unset:
        notes.append(f"Not set, so empty or left out: {', '.join(sorted(used.unset))}.")
    return notes


def app_name(document: Mapping[str, Any], file: str, given: str | None) -> str:
    """The app's name: as given, else as the file says, else after the file's folder, as compose does it."""
    if given is not None:
        return given
    if document.get("name"):
        return str(document["name"])
    name = None if file == "-" else plain_name(Path(file).resolve().parent.name)
    if name is None:
        raise usage("The app needs a name.", todo="add --name NAME, or `name:` to the file")
    return name
