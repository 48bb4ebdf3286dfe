"""Starting a process so that it ends with the supervisor, and what is needed of one that runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Protocol

from standalone.log_files import open_log
from standalone.process_spec import ProcessSpec
from standalone.processes import die_with_parent


class Running(Protocol):
    """A process of ours, as asyncio has them: `returncode` is None until it has ended (negative: the signal)."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...

    def send_signal(self, signum: signal.Signals, /) -> None: ...

    def kill(self) -> None: ...


Spawn = Callable[[ProcessSpec], Awaitable[Running]]


async def execute(spec: ProcessSpec, *, stdin: int = asyncio.subprocess.DEVNULL) -> Running:
    """Run the command of the spec in a session of its own; `stdin` is a descriptor.  Raises OSError if it cannot be started."""
    with open_log(spec.log_file) as log:
        return await asyncio.create_subprocess_exec(
            *spec.argv,
            stdin=stdin,
            stdout=log,
            stderr=log,
            env=dict(spec.env),
            cwd=spec.cwd,
            start_new_session=True,
            preexec_fn=die_with_parent(spec.death_signal),
        )
