"""Locked Python packages for images, as wheels in the cache.

They are fetched outside of any image, with the environment's own pip, its certificates and every hash of the lock
checked. One folder per state of a lock: when it is there, nothing has to be asked over the network.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from infra.images.digest import digest_of
from infra.images.workshop import Workshop
from infra.setup.commands import run


def ensure_wheels(lock: Path, workshop: Workshop, *, python_version: str | None = None) -> Path:
    """The folder with the wheels of a lock, for the environment's Python or another `python_version` (3.11)."""
    wheels = workshop.cache / f"wheels-{lock.stem}-{python_version or 'any'}-{digest_of([lock])}"
    if not wheels.exists():
        with tempfile.TemporaryDirectory(prefix="lattice-wheels-") as folder:
            draft = Path(folder) / "draft"
            _fetch(
                lock, workshop.python, draft, ["--python-version", python_version] if python_version else []
            )
            for outdated in workshop.cache.glob(f"wheels-{lock.stem}-*"):
                shutil.rmtree(outdated)
            shutil.move(draft, wheels)
    return wheels


def _fetch(lock: Path, python: Path, folder: Path, target: list[str]) -> None:
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run([*pip, "download", "--no-deps", *target, "--require-hashes", "-r", str(lock), "-d", str(folder)])
    for source in folder.glob("*.tar.gz"):
        # A few packages come as source only; the hash of that was checked, what is built from it has none.
        run([*pip, "wheel", "--no-deps", "-w", str(folder), str(source)])
        source.unlink()
