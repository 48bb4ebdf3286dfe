"""Reads what people write in YAML (`lattice.plain_yaml`) from files that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cli.errors import CliError, usage
from lattice.plain_yaml import PlainLoader


def read_mapping(name: str, text: str) -> dict[str, Any]:
    """The one mapping that the document `text` holds; `name` is for messages."""
    try:
        documents = list(yaml.load_all(text, Loader=PlainLoader))
    except yaml.YAMLError as error:
        raise CliError(f"{name} is not valid YAML.", why=str(error)) from error
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise usage(
            f"{name} must hold exactly one workload.", todo="write one document with name, image or template"
        )
    return documents[0]


def read_text(path: str) -> str:
    """The content of a file that a person named."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise usage(f"Cannot read {path}: {_reason(error)}.") from error


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "it is not UTF-8 text"
