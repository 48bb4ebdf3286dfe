"""Before a pull: is there room for the image?  Asked only while the disk is short of space, since a registry counts each question as a pull."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable

import httpx
from loguru import logger

from agent.image_size import Json, compressed_bytes, digest_for, lacks_room, shares_layers
from agent.inventory import DiskSpace
from lattice.contracts.nouns import LocalImage
from lattice.image_reference import ImageReference, parse_reference
from lattice.oci_registry import ask_manifest
from lattice.runtime import NoSpace, RegistryAuth

# Images of more than half of this are rare enough to be left to the Engine.
ASK_BELOW_BYTES = 50 * 2**30
TIMEOUT_S = 5.0

SizeOf = Callable[[str, RegistryAuth | None, str], Awaitable[int | None]]


async def registry_size(reference: str, auth: RegistryAuth | None, arch: str) -> int | None:
    """The compressed size of an image as its registry tells it, in bytes; None where it cannot be had in time."""
    login = f"{auth.username}:{auth.password}" if auth is not None else None
    try:
        async with asyncio.timeout(TIMEOUT_S), httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            return await _size(client, parse_reference(reference), login, arch)
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        logger.info("the size of {} is not known before the pull: {}", reference, type(error).__name__)
        return None


async def _size(
    client: httpx.AsyncClient, reference: ImageReference, login: str | None, arch: str
) -> int | None:
    first = await _manifest(client, reference, reference.digest or reference.tag or "latest", login)
    size_bytes = compressed_bytes(first)
    if size_bytes is not None:
        return size_bytes
    digest = digest_for(first, arch)
    return compressed_bytes(await _manifest(client, reference, digest, login)) if digest else None


async def _manifest(
    client: httpx.AsyncClient, reference: ImageReference, name: str, login: str | None
) -> Json:
    answer = await ask_manifest(client, "GET", reference, name, login)
    found = json.loads(answer.body) if answer.status == httpx.codes.OK else {}
    return found if isinstance(found, dict) else {}


class ImageRoom:
    """Says no to an image that would fill the disk."""

    def __init__(
        self, space: Callable[[], DiskSpace], arch: Callable[[], str], size_of: SizeOf = registry_size
    ) -> None:
        self._space, self._arch, self._size_of = space, arch, size_of

    async def check(self, reference: str, auth: RegistryAuth | None, held: Iterable[LocalImage]) -> None:
        """Raises NoSpace if the image is known not to fit."""
        free = self._space().free_bytes
        if free >= ASK_BELOW_BYTES or shares_layers(reference, held):
            return
        compressed = await self._size_of(reference, auth, self._arch())
        problem = lacks_room(reference, compressed, free) if compressed is not None else None
        if problem is not None:
            raise NoSpace(problem)
