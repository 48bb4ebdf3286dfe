"""Packed segments in an object store: S3 and what speaks like it, or a folder.

Keys and endpoints come from where obstore looks for them (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL` and so on).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, from_url

from lattice.errors import Temporary

# A part of an upload is 5 MiB; more of them at once would only take memory.
_PARTS_AT_ONCE = 2


class ObjectStore:
    """Blocks: to be called in threads.  Raises Temporary where the store is away or refuses."""

    def __init__(self, url: str) -> None:
        self._store = _opened(url)

    def put(self, path: Path, name: str) -> None:
        """Copy a file; it is there, whole, when this returns."""
        with _errors(name):
            obstore.put(self._store, name, path, max_concurrency=_PARTS_AT_ONCE)

    def size(self, name: str) -> int | None:
        """How long an object is; None if there is none."""
        try:
            with _errors(name):
                return int(obstore.head(self._store, name)["size"])
        except FileNotFoundError:
            return None

    def read(self, name: str, offset: int, size: int) -> bytes:
        """A part of an object.  Raises FileNotFoundError."""
        with _errors(name):
            return bytes(obstore.get_range(self._store, name, start=offset, length=size))

    def delete(self, name: str) -> None:
        """Let an object go, if it is there."""
        try:
            with _errors(name):
                obstore.delete(self._store, name)
        except FileNotFoundError:
            return


def _opened(url: str) -> Any:
    parts = urlsplit(url)
    return LocalStore(parts.path, mkdir=True) if parts.scheme == "file" else from_url(url)


@contextmanager
def _errors(name: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotFoundError) as error:
        raise FileNotFoundError(name) from error
    except (BaseError, OSError) as error:
        said = str(error).split("\n", 1)[0]
        raise Temporary(f"The object store does not serve {name}: {said}") from error
