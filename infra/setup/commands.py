"""Running other programs: always an argument list, never a shell, and never a failure that nobody sees."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_SHOWN_LINES = 15


class SetupError(Exception):
    """Set-up cannot go on; the message tells a person what, why and what to do."""


class CommandFailed(SetupError):
    """A program ended with another status than 0; `output` holds all it wrote."""

    def __init__(self, argv: Sequence[str], status: int, output: str) -> None:
        self.output = output
        tail = "\n    ".join(output.strip().splitlines()[-_SHOWN_LINES:])
        super().__init__(f"`{' '.join(argv)}` failed with status {status}:\n    {tail}")


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 900,
) -> str:
    """Run a program to its end and return what it wrote; `env` is added to the environment.

    Raises CommandFailed on a status other than 0, SetupError when it is not there or takes too long.
    """
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout_s,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except FileNotFoundError:
        raise SetupError(f"`{argv[0]}` is not installed on this machine.") from None
    except subprocess.TimeoutExpired:
        raise SetupError(f"`{' '.join(argv)}` did not end within {timeout_s:.0f} s.") from None
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stdout)
    return done.stdout


def succeeds(argv: Sequence[str], *, timeout_s: float = 60) -> bool:
    """Whether a program is there and ends with status 0."""
    try:
        run(argv, timeout_s=timeout_s)
    except SetupError:
        return False
    return True


def as_root(argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` as root: itself for root, through sudo for anybody else."""
    if os.geteuid() == 0:
        return list(argv)
    if find_program("sudo") is None:
        raise SetupError(
            f"`{' '.join(argv)}` needs root and there is no sudo. Run make as root, or install sudo."
        )
    return ["sudo", *argv]


def find_program(name: str) -> str | None:
    """Where a program is; also looks where only root's PATH leads (dockerd, iptables)."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    return shutil.which(name, path=path)
