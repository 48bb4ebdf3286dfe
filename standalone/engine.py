"""The Docker Engine of this machine, for the platform's own commands: is it there, and what of it is ours?

It is reached through the agent's runtime only, so there is one way to the Engine in all of Lattice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agent.docker_runtime import DockerRuntime, open_docker
from lattice.errors import LatticeError, Temporary
from lattice.runtime import EngineInfo

# These commands make no container, so no folder may be mounted into one.
NO_FILES = Path("/nonexistent")


@asynccontextmanager
async def open_engine(docker_url: str) -> AsyncIterator[DockerRuntime]:
    """A connection to the Engine, which need not be there yet."""
    runtime = open_docker(docker_url, files_root=NO_FILES)
    try:
        yield runtime
    finally:
        await runtime.close()


async def check_engine(docker_url: str) -> EngineInfo:
    """What the Engine says of itself.  Raises Temporary with what to do where none answers."""
    async with open_engine(docker_url) as engine:
        try:
            return await engine.info()
        except LatticeError as error:
            raise Temporary(
                f"{error} Start Docker (`make setup` installs it and starts it), or let this user use it "
                "(group `docker`)."
            ) from error
