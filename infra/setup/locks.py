"""Writing the lock files anew from `pyproject.toml`, with hashes and without any registry's address.

uv resolves the whole set in a second where pip-compile needs a minute; it runs from an environment that is thrown
away. The development lock comes first, and the others are held to its versions, so that all of them can be installed
over one another.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from infra.setup.commands import run

_OPTIONS = (
    "--universal",
    "--python-version=3.11",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--no-header",
    "--upgrade",
    "--quiet",
)
_PARTS = ("agent", "services", "cli", "embedded")


def write_locks(root: Path) -> str:
    """Write every lock below `requirements/`; returns what was done in a few words."""
    with tempfile.TemporaryDirectory(prefix="lattice-uv-") as folder:
        run([sys.executable, "-m", "venv", folder])
        run([f"{folder}/bin/pip", "install", "--quiet", "--disable-pip-version-check", "uv"])
        uv = [f"{folder}/bin/uv", "pip", "compile", *_OPTIONS]
        run([*uv, "--extra=dev", "pyproject.toml", "-o", "requirements/dev.lock"], cwd=root)
        held = ["-c", "requirements/dev.lock"]
        for part in _PARTS:
            target = f"requirements/{part}.lock"
            run([*uv, *held, f"--extra={part}", "pyproject.toml", "-o", target], cwd=root)
        run([*uv, *held, "requirements/images.in", "-o", "requirements/images.lock"], cwd=root)
    return f"wrote dev, {', '.join(_PARTS)} and images"
