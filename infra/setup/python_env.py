"""The project's own Python environment `.venv`, filled from a lock file with every hash checked.

A stamp in `.venv` says which lock was installed from which contents, so a second run costs one hash. An
environment without a stamp is taken over as it is: pip then only adds what is missing.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.setup.commands import CommandFailed, run, succeeds
from infra.setup.programs import install_packages

_PIP = ["-m", "pip", "--disable-pip-version-check", "--no-input"]


@dataclass(frozen=True)
class Environment:
    """Where the project and its environment are."""

    root: Path

    @property
    def folder(self) -> Path:
        """The virtual environment."""
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def lock(self, name: str) -> Path:
        """The lock file of a dependency group."""
        return self.root / "requirements" / f"{name}.lock"

    def stamp(self, name: str) -> Path:
        """What remembers that the lock `name` is installed."""
        return self.folder / f".lattice-{name}.installed"


def ensure_environment(environment: Environment, lock_name: str) -> str:
    """Make `.venv` hold the packages of this lock and the project itself with `.venv/bin/lattice`."""
    expected = _fingerprint(environment, lock_name)
    stamp = environment.stamp(lock_name)
    if _runs(environment) and stamp.exists() and stamp.read_text() == expected:
        return "up to date"
    if not _runs(environment):
        _create(environment)
    _install(environment, lock_name)
    stamp.write_text(expected)
    return f"installed from {environment.lock(lock_name).relative_to(environment.root)}"


def _fingerprint(environment: Environment, lock_name: str) -> str:
    # The folder is part of it: scripts in .venv/bin hold absolute paths and break when the project is moved.
    parts = [environment.lock(lock_name), environment.root / "pyproject.toml"]
    digest = hashlib.sha256(str(environment.root).encode())
    for path in parts:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _runs(environment: Environment) -> bool:
    return environment.python.exists() and succeeds([str(environment.python), "-c", ""])


def _create(environment: Environment) -> None:
    if not succeeds([sys.executable, "-c", "import ensurepip, venv"]):
        # Debian splits this off its Python; without it `-m venv` makes an environment without pip.
        install_packages([f"python{sys.version_info.major}.{sys.version_info.minor}-venv"])
    shutil.rmtree(environment.folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(environment.folder)])


def _install(environment: Environment, lock_name: str) -> None:
    pip = [str(environment.python), *_PIP, "install", "--quiet"]
    lock = ["--require-hashes", "-r", str(environment.lock(lock_name))]
    try:
        run([*pip, *lock])
    except CommandFailed:
        # One more try, because a single dropped connection among some hundred downloads fails the whole
        # command.
        run([*pip, *lock])
    # pip cannot hash a folder, hence apart; with isolation it would fetch the build tools without any hash.
    run([*pip, "--no-deps", "--no-build-isolation", "--no-index", "-e", str(environment.root)])
