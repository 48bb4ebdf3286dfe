"""What survives a kill at any point: the newest desired document, the agent's facts, the session counter, how far logs were read,
which images were pulled.

Each file is replaced in one durable step, and written before anything is done that it must explain.  The agent starts from here after a reboot
without network.  A file that cannot be read is set aside under another name and told about, never a reason not to start: the document comes
again from the bus, and epochs are learned from it and from the containers' labels.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from loguru import logger
from pydantic import ValidationError

from agent.facts import Facts, PulledImage, accepts, learn
from agent.log_place import LogPosition
from lattice.contracts.messages import DesiredDocument
from lattice.contracts.nouns import Noun
from lattice.files import flush_folder, write_durably

DOCUMENT, FACTS, SESSION, POSITIONS = "document.json", "facts.json", "session.json", "log-positions.json"
IMAGES = "images.json"
_KEPT_ASIDE = 5

N = TypeVar("N", bound=Noun)


class Session(Noun):
    """Rises with each start of the agent; a second agent with the same number is a clone of its disk."""

    number: int


class LogPositions(Noun):
    """Positions by container id."""

    containers: dict[str, LogPosition] = {}


class Images(Noun):
    """What the agent pulled, by image id."""

    pulled: dict[str, PulledImage] = {}


class Journal:
    """The agent's memory in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = asyncio.Lock()
        self.document = _read(folder / DOCUMENT, DesiredDocument)
        facts = _read(folder / FACTS, Facts) or Facts()
        # A kill between the two files may have left the facts behind the document.
        self.facts = learn(facts, self.document) if self.document else facts
        self.positions = (_read(folder / POSITIONS, LogPositions) or LogPositions()).containers
        self.images = (_read(folder / IMAGES, Images) or Images()).pulled
        self.boot_id = secrets.token_hex(8)
        self.session = 0

    def begin_session(self, now: datetime) -> int:
        """Count this start, durably, before anybody hears its number.

        The registry believes the highest number.  So the first one, also after the file was lost, comes from the clock: it lies above all that
        were counted up from an earlier moment.
        """
        before = _read(self._folder / SESSION, Session) or Session(number=int(now.timestamp()))
        self.session = before.number + 1
        _write(self._folder / SESSION, Session(number=self.session))
        return self.session

    async def accept(self, document: DesiredDocument) -> bool:
        """Keep a document if it is newer than the kept one; only when this returns True may it be acted on."""
        async with self._lock:
            if not accepts(self.document, document):
                return False
            await asyncio.to_thread(_write, self._folder / DOCUMENT, document)
            self.document, self.facts = document, learn(self.facts, document)
            await asyncio.to_thread(_write, self._folder / FACTS, self.facts)
            return True

    async def keep(self, facts: Facts) -> None:
        """Keep changed facts.  They count from this call on, and are durable when it returns."""
        self.facts = facts
        async with self._lock:
            await asyncio.to_thread(_write, self._folder / FACTS, self.facts)

    async def keep_positions(self, positions: dict[str, LogPosition]) -> None:
        """Keep how far logs were read."""
        self.positions = positions
        await asyncio.to_thread(_write, self._folder / POSITIONS, LogPositions(containers=positions))

    async def keep_images(self, images: dict[str, PulledImage]) -> None:
        """Keep which images were pulled here."""
        self.images = images
        async with self._lock:
            await asyncio.to_thread(_write, self._folder / IMAGES, Images(pulled=self.images))


def _write(path: Path, value: Noun) -> None:
    write_durably(path, value.model_dump_json().encode())


def _read(path: Path, kind: type[N]) -> N | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        logger.error("{} cannot be read and is set aside: {}", path, type(error).__name__)
        _set_aside(path)
        return None


def _set_aside(path: Path) -> None:
    older = sorted(path.parent.glob(f"{path.name}.damaged-*"))
    for surplus in older[: max(0, len(older) - _KEPT_ASIDE + 1)]:
        surplus.unlink(missing_ok=True)
    path.rename(path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}"))
    flush_folder(path.parent)
