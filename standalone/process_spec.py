"""How one process of the platform is run, before it is."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from standalone.http_check import Check
from standalone.restarts import RestartPolicy


async def always_ready() -> bool:
    """For a process that needs no check: it is ready as soon as it runs."""
    return True


async def nothing_to_prepare() -> None:
    """For a process that can simply be started."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """How to run one process.  `env` is all of its environment; `after` names those that must be ready
    first.  `module` is there if the process is Python and `argv` does nothing but run that module.
    """

    name: str
    argv: tuple[str, ...]
    log_file: Path
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = Path("/")
    after: tuple[str, ...] = ()
    ready: Check = always_ready
    prepare: Callable[[], Coroutine[Any, Any, None]] = nothing_to_prepare
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 10.0
    death_signal: signal.Signals = signal.SIGKILL
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    module: str | None = None


def python_argv(module: str) -> tuple[str, ...]:
    """The command that runs a module of ours: with this Python, and nothing imported from the folder it runs in."""
    return (sys.executable, "-P", "-m", module)
