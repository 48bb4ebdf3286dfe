"""The images of a Docker Engine: pulling with progress, listing, and removing without force."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from typing import Any, cast

from aiodocker import Docker, DockerError

from agent.docker_inspect import image_of
from agent.docker_runtime_errors import ENGINE_ERRORS, pull_error
from agent.pull_progress import PullProgress
from lattice.contracts.nouns import LocalImage
from lattice.errors import Temporary
from lattice.runtime import RegistryAuth


class DockerImages:
    """Images over one Engine; whoever calls sets the deadline, but for a pull, which may take as long as it moves."""

    def __init__(self, docker: Docker) -> None:
        self._docker = docker

    async def held(self) -> tuple[LocalImage, ...]:
        """The images that the Engine holds."""
        listed = await self._docker.images.list(digests=True)
        return tuple(image_of(each) for each in listed)

    async def in_use(self) -> frozenset[str]:
        """The ids of the images that any container was made from."""
        listed = await self._docker._query_json("containers/json", params={"all": True})
        return frozenset(str(each["ImageID"]) for each in listed)

    async def remove(self, reference: str) -> None:
        """Take a name away; fine if it is gone.  `noprune`: the parents of an image that somebody built here are not ours to remove."""
        try:
            await self._docker.images.delete(reference, force=False, noprune=True)
        except DockerError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def pull(
        self, reference: str, progress: Callable[[str], None], auth: RegistryAuth | None, *, idle_s: float
    ) -> None:
        """Fetch an image.  Temporary if nothing came for `idle_s`."""
        image = _with_registry(reference) if auth is not None else reference
        login = {"username": auth.username, "password": auth.password} if auth is not None else None
        told = PullProgress()
        pulling = self._docker.images.pull(image, auth=login, stream=True)
        messages = cast("AsyncGenerator[dict[str, Any]]", pulling)
        try:
            while True:
                async with asyncio.timeout(idle_s):
                    message = await anext(messages, None)
                if message is None:
                    return
                text = told.feed(message)
                if text is not None:
                    progress(text)
        except TimeoutError as error:
            raise Temporary(f"pulling {reference} made no progress for {idle_s:.0f} s") from error
        except ENGINE_ERRORS as error:
            raise pull_error(error, reference) from error
        finally:
            await messages.aclose()


def _with_registry(reference: str) -> str:
    """The reference with its registry's host, which the client wants with credentials: `acme/api` is on Docker's own."""
    host, slash, _ = reference.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return reference
    return f"docker.io/{reference}" if slash else f"docker.io/library/{reference}"
