"""The files of a credential for the bus, and the commands that use them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.errors import CliError
from lattice.files import write_durably

CA, CERTIFICATE, KEY, CREDS = "ca.pem", "client.pem", "client-key.pem", "nats.creds"


def check_empty(folder: Path) -> None:
    """Raises CliError unless nothing would be overwritten."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CliError(
            f"{folder} is not empty.",
            why="a credential is never written over another",
            todo="name a new folder",
        )


def write(folder: Path, made: Mapping[str, Any]) -> None:
    """Write what was made; all but the CA is for the owner's eyes only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    texts = {
        CA: made["ca"],
        CERTIFICATE: made["certificate"],
        KEY: made["private_key"],
        CREDS: made["creds"],
    }
    for name, text in texts.items():
        write_durably(folder / name, text.encode())


def subscribe_command(folder: Path, made: Mapping[str, Any]) -> str:
    """How the `nats` command hears alerts with these files."""
    return shlex.join([*_nats(folder, made), "sub", made["subscribe"]])


def order_command(folder: Path, made: Mapping[str, Any]) -> str:
    """How it acknowledges one."""
    inbox = f"--inbox-prefix={made['inbox_prefix']}"
    order = '{"alert": "al-…", "note": "on my way"}'
    return shlex.join([*_nats(folder, made), inbox, "request", f"{made['order']}.acknowledge", order])


def _nats(folder: Path, made: Mapping[str, Any]) -> list[str]:
    return [
        "nats",
        f"--server={','.join(made['urls'])}",
        f"--tlsca={folder / CA}",
        f"--tlscert={folder / CERTIFICATE}",
        f"--tlskey={folder / KEY}",
        "--tlsfirst",
        f"--creds={folder / CREDS}",
    ]
