"""Starts this machine's agent as a process of its own.  The join token travels in its environment: arguments can be read by every user."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from cli.errors import CliError
from cli.settings import child_environment

_COMMAND = [sys.executable, "-m", "agent"]
_EARLY_END_S = 2.0  # an agent that cannot start (no Docker, a used token) says so within this time
_LOG_TAIL = 10


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What the agent is told; what is None it decides for itself."""

    token: str
    data_dir: Path | None = None
    name: str | None = None

    def variables(self) -> dict[str, str]:
        given = {
            "LATTICE_AGENT_JOIN_TOKEN": self.token,
            "LATTICE_AGENT_DATA_DIR": str(self.data_dir) if self.data_dir else None,
            "LATTICE_AGENT_NODE_NAME": self.name,
        }
        return {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Started:
    """An agent in the background."""

    pid: int
    log: Path


def become(settings: AgentSettings) -> NoReturn:
    """Turns this process into the agent, so that signals and the exit code are the agent's own."""
    _check_installed()
    sys.stdout.flush()
    os.execve(sys.executable, _COMMAND, child_environment(**settings.variables()))


def start_detached(settings: AgentSettings, *, default_data_dir: Path) -> Started:
    """Starts the agent so that it outlives this command; raises with the end of its log if it ends at once."""
    _check_installed()
    folder = settings.data_dir or default_data_dir / "agent"
    log = folder / "agent.log"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("ab") as file:
            started = subprocess.Popen(
                _COMMAND,
                env=child_environment(**settings.variables()),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
    except OSError as error:
        raise CliError(f"Cannot start the agent in {folder}: {error.strerror}.") from error
    _check_early_end(started, log)
    return Started(pid=started.pid, log=log)


def _check_early_end(started: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _EARLY_END_S
    while time.monotonic() < end:
        if started.poll() is not None:
            tail = log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
            raise CliError(
                f"The agent ended at once with code {started.returncode}.",
                details=tuple(map(_words, tail)),
                todo=f"see {log}",
            )
        time.sleep(0.05)


def _words(line: str) -> str:
    """The sentence of a line of the agent's log, which is JSON; what else stands there as it is."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line


def _check_installed() -> None:
    if importlib.util.find_spec("agent.__main__") is None or importlib.util.find_spec("aiodocker") is None:
        raise CliError(
            "This installation has no agent.",
            why="only the parts for the command line are installed",
            todo="pip install 'lattice-platform[agent]'",
        )
