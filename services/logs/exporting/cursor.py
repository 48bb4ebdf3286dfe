"""What a sink has: ranges of records by container, in a small file that survives a power cut.

Ranges, not a single number: blocks arrive in any order, and one that comes late is not to be passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import orjson
from loguru import logger

from lattice.files import write_durably
from lattice.number_ranges import Range, Ranges, added, missing
from services.logs.index import Container


class Cursor:
    """Of one sink."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._covered: dict[Container, Ranges] = _read(path)
        self.is_saved = True

    def missing(self, source: Container, lines: Range) -> list[Range]:
        """Which of these the sink does not have."""
        return missing(self._covered.get(source, ()), lines)

    def advance(self, done: Iterable[tuple[Container, Range]]) -> None:
        """The sink has these, too."""
        for source, lines in done:
            self._covered[source] = added(self._covered.get(source, ()), lines)
            self.is_saved = False

    def keep_only(self, sources: set[Container]) -> None:
        """Forget the containers of which nothing is stored any more."""
        for source in self._covered.keys() - sources:
            del self._covered[source]
            self.is_saved = False

    def content(self) -> bytes:
        """As it is written; to be made where nobody changes it meanwhile."""
        return orjson.dumps([[*source, covered] for source, covered in self._covered.items()])

    def save(self, content: bytes) -> None:
        """On disk when it returns."""
        write_durably(self._path, content)


def _read(path: Path) -> dict[Container, Ranges]:
    """What was written; of a file that cannot be read, nothing: then everything is sent once more."""
    try:
        return {
            (node_id, source): tuple((first, last) for first, last in covered)
            for node_id, source, covered in orjson.loads(path.read_bytes())
        }
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        logger.warning("{} cannot be read, what is stored is sent once more: {}", path, error)
        return {}
