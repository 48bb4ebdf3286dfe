"""Pulling images, remembering which of them came by our hand, and removing those when the disk fills up (`image_collection` decides).

An image is ours only if it was not on the node before the pull.  That is journalled right after the pull: after a kill in between the image
counts as somebody else's and stays.  Nothing is removed by force: an image that a container uses after all is refused by the Engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from loguru import logger

from agent.facts import PulledImage
from agent.image_collection import CollectionRules, Removal, next_removal, noted, wanted_by
from agent.image_room import ImageRoom
from agent.inventory import DiskSpace
from agent.journal import Journal
from agent.node_events import NodeEvents
from lattice.clock import Clock
from lattice.contracts.nouns import LocalImage
from lattice.errors import LatticeError
from lattice.runtime import RegistryAuth, Runtime

# As often as the kubelet looks (its `ImageGCPeriod`).
EVERY_S = 300.0
_MOST_TOLD = 20

ReadSpace = Callable[[], DiskSpace]


class PulledImages:
    """The images of one Engine that this agent pulled."""

    def __init__(
        self,
        runtime: Runtime,
        journal: Journal,
        events: NodeEvents,
        *,
        clock: Clock,
        space: ReadSpace,
        rules: CollectionRules,
        room: ImageRoom,
        every_s: float = EVERY_S,
    ) -> None:
        self._runtime, self._journal, self._events = runtime, journal, events
        self._clock, self._space, self._rules, self._room, self._every_s = clock, space, rules, room, every_s
        self._removing = asyncio.Lock()

    async def is_here(self, reference: str) -> bool:
        """Whether the node holds an image; waits for a removal under way, which began before anybody asked for this image."""
        async with self._removing:
            return await self._runtime.image_id(reference) is not None

    async def pull(
        self, reference: str, *, progress: Callable[[str], None], auth: RegistryAuth | None
    ) -> None:
        """Fetch an image and remember that it was us, if it was not here before.  Raises NoSpace for one that would fill the disk."""
        held = await self._runtime.images()
        await self._room.check(reference, auth, held)
        await self._runtime.pull(reference, progress=progress, auth=auth)
        image_id = await self._runtime.image_id(reference)
        known = self._journal.images.get(image_id) if image_id is not None else None
        if image_id is None or (any(image.id == image_id for image in held) and known is None):
            return
        now = self._clock.now()
        image = known or PulledImage(pulled_at=now, unused_since=now)
        references = tuple(dict.fromkeys((*image.references, reference)))
        updated = image.model_copy(update={"references": references, "unused_since": now})
        await self._journal.keep_images({**self._journal.images, image_id: updated})

    async def run(self) -> None:
        """Look now and then, for ever."""
        while True:
            await asyncio.sleep(self._every_s)
            with suppress(LatticeError):  # an Engine that is away: the next look comes anyway
                await self.collect()

    async def collect(self) -> list[str]:
        """Remove what may go, one image at a time, until the disk is below the low mark; the names of what went."""
        gone: list[str] = []
        percent = first = self._space().used_percent
        while (removed := await self._remove_next(percent, begun=bool(gone))) is not None:
            gone.append(removed)
            percent = self._space().used_percent
        if gone:
            self._tell(gone, first, percent)
        return gone

    async def _remove_next(self, disk_percent: float, *, begun: bool) -> str | None:
        """Decide anew for each: what is wanted, used and named may have changed while the last one went."""
        async with self._removing:
            held, in_use = await self._look()
            while (removal := self._decide(held, in_use, disk_percent, begun=begun)) is not None:
                if await self._remove(removal):
                    return removal.names[0] if removal.names else removal.image_id
                held = tuple(image for image in held if image.id != removal.image_id)
        return None

    async def _look(self) -> tuple[tuple[LocalImage, ...], frozenset[str]]:
        held, in_use = await self._runtime.images(), await self._runtime.images_in_use()
        images = noted(self._journal.images, held, in_use, self._clock.now())
        if images != self._journal.images:
            await self._journal.keep_images(images)
        return held, in_use

    def _decide(
        self, held: tuple[LocalImage, ...], in_use: frozenset[str], disk_percent: float, *, begun: bool
    ) -> Removal | None:
        if self._journal.document is None:
            return None  # what is wanted here is not known
        return next_removal(
            self._journal.images,
            held,
            in_use,
            wanted_by(self._journal.document),
            disk_percent=disk_percent,
            begun=begun,
            rules=self._rules,
            now=self._clock.now(),
        )

    async def _remove(self, removal: Removal) -> bool:
        logger.info("removing image {}: {}", removal.names or removal.image_id, removal.reason)
        try:
            for name in removal.names or (removal.image_id,):
                await self._runtime.remove_image(name)
        except LatticeError as error:
            logger.info("image {} stays: {}", removal.names or removal.image_id, error.detail)
            return False
        left = {
            image_id: image
            for image_id, image in self._journal.images.items()
            if image_id != removal.image_id
        }
        await self._journal.keep_images(left)
        return True

    def _tell(self, gone: list[str], first: float, last: float) -> None:
        what = "1 image" if len(gone) == 1 else f"{len(gone)} images"
        detail = (
            f"removed {what} that Lattice had pulled and nothing used: {', '.join(gone[:_MOST_TOLD])}; "
            f"the disk was {first:.0f} % full and is {last:.0f} %"
        )
        self._events.tell("images_removed", detail, images=gone[:_MOST_TOLD], count=len(gone))
