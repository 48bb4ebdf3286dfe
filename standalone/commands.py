"""What `lattice up|down|status|doctor|reset|support` do on this machine; each answers with an exit code.

The CLI calls these by name and knows nothing else of this package.  Heavy modules are imported by the command that needs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from lattice.errors import LatticeError
from standalone.printing import say
from standalone.settings import StandaloneSettings, default_data_dir

P = ParamSpec("P")
DONE, FAILED = 0, 1
INTERRUPTED = 130


def _explained(command: Callable[P, int]) -> Callable[P, int]:
    """Turn an error into its explanation and the exit code 1."""

    @wraps(command)
    def explained(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return command(*args, **kwargs)
        except LatticeError as error:
            say(f"Error: {error}")
            return FAILED
        except KeyboardInterrupt:
            say("Interrupted.")
            return INTERRUPTED

    return explained


@_explained
def up(
    *, data_dir: Path | None, port: int | None, detach: bool, wait: bool, no_agent: bool, output: str
) -> int:
    """Start the platform, in the foreground until Ctrl-C or, with `detach`, in the background."""
    from standalone import starting
    from standalone.preparation import Options

    settings = StandaloneSettings()
    options = Options(_root(settings, data_dir), port, with_agent=not no_agent)
    if detach:
        return starting.up_detached(options, settings, wait=wait, output=output)
    return starting.up_here(options, settings, output=output)


@_explained
def down(*, data_dir: Path | None, workloads: bool) -> int:
    """Stop the platform; with `workloads` all that it runs, too."""
    from standalone.stopping import stop

    settings = StandaloneSettings()
    return asyncio.run(stop(_root(settings, data_dir), settings, workloads=workloads))


@_explained
def status(*, data_dir: Path | None, output: str) -> int:
    """Show the processes, the node and the workloads; 1 if the platform is not ready."""
    from standalone.status import show_status

    return asyncio.run(show_status(_root(StandaloneSettings(), data_dir), output=output))


@_explained
def doctor(*, data_dir: Path | None, output: str) -> int:
    """Check what the platform needs; 1 if something must be done."""
    from standalone.doctor import examine

    settings = StandaloneSettings()
    return asyncio.run(examine(_root(settings, data_dir), settings, output=output))


@_explained
def reset(*, data_dir: Path | None, yes: bool) -> int:
    """Show everything that Lattice made here; with `yes`, remove it."""
    from standalone.reset import reset_platform

    settings = StandaloneSettings()
    return asyncio.run(reset_platform(_root(settings, data_dir), settings, yes=yes))


@_explained
def support_bundle(*, data_dir: Path | None, to: Path, output: str) -> int:
    """Write logs and states without secrets below `to`."""
    from standalone.support import write_bundle

    settings = StandaloneSettings()
    return asyncio.run(
        write_bundle(_root(settings, data_dir), settings, to=to.expanduser().absolute(), output=output)
    )


def _root(settings: StandaloneSettings, chosen: Path | None) -> Path:
    return (chosen or settings.data_dir or default_data_dir()).expanduser().absolute()
