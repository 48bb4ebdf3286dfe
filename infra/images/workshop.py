"""Where images are made: the cache of fetched archives and the Python that fetches wheels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workshop:
    """What building needs: a cache folder, the project's Python, the lock of the wheels inside images."""

    cache: Path
    python: Path
    lock: Path


def open_workshop(root: Path, cache_home: Path) -> Workshop:
    """The workshop of the project in `root`; its cache is shared by all clones of this user."""
    return Workshop(
        cache=cache_home / "lattice" / "images",
        python=root / ".venv" / "bin" / "python",
        lock=root / "requirements" / "images.lock",
    )
