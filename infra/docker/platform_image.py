"""Building the image of Lattice itself from the distribution's Python and the locked packages.

Wheels come from the cache, where every hash was checked; so building needs neither network nor proxy settings.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import tomllib
from pathlib import Path

from infra.images.accounts import account_entries
from infra.images.archives import Archive, fetch_archives
from infra.images.build import add_base
from infra.images.engine import build_image
from infra.images.layer import Entry, write_layer
from infra.images.recipes import BASE_PACKAGES, User
from infra.images.wheels import ensure_wheels
from infra.images.workshop import Workshop

REPOSITORY = "lattice.local/lattice"
_DOCKERFILE = Path(__file__).parent / "Dockerfile"
_LATTICE = User("lattice", 10001, "/var/lib/lattice")
# greenlet is written in C++; without its library SQLAlchemy says that greenlet is not installed.
_SYSTEM = (*BASE_PACKAGES, "ca-certificates", "libstdc++6", "python3")
_TOOLS = (*_SYSTEM, "python3-venv")


def build_platform_image(root: Path, workshop: Workshop) -> str:
    """Build the image of the project in `root`; returns `lattice.local/lattice:<version>`."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    name = f"{REPOSITORY}:{project['project']['version']}"
    with tempfile.TemporaryDirectory(prefix="lattice-image-") as folder:
        context = Path(folder) / "context"
        context.mkdir()
        shutil.copy(_DOCKERFILE, context)
        python_version = _add_system(workshop, context)
        lock = root / "requirements" / "embedded.lock"
        shutil.copytree(ensure_wheels(lock, workshop, python_version=python_version), context / "wheels")
        build_image(context, f"{REPOSITORY}-packages:{project['project']['version']}", target="packages")
        _add_source(root, context, project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
        _add_compose(root, context)
        build_image(context, name, labels={"org.opencontainers.image.title": "Lattice"})
    return name


def _add_system(workshop: Workshop, context: Path) -> str:
    """Put the system's layers into the context; returns the version of its Python as `3.11`."""
    base = add_base(workshop, context)
    system = fetch_archives(_SYSTEM, workshop.cache)
    tools = fetch_archives(_TOOLS, workshop.cache)
    home = Entry(_LATTICE.home.lstrip("/"), mode=0o750, uid=_LATTICE.number, gid=_LATTICE.number)
    write_layer(context / "layer.tar", _beyond(base, system), [*account_entries([_LATTICE]), home])
    write_layer(context / "tools.tar", _beyond((*base, *system), tools), [])
    python = next(archive.package for archive in system if archive.package.name == "python3")
    return ".".join(re.split(r"\D", python.version)[:2])


def _beyond(below: tuple[Archive, ...], archives: tuple[Archive, ...]) -> list[Archive]:
    return [archive for archive in archives if archive not in below]


def _add_source(root: Path, context: Path, packages: list[str]) -> None:
    source = context / "source"
    for package in packages:
        shutil.copytree(root / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(root / file, source)


def _add_compose(root: Path, context: Path) -> None:
    """What the containers of compose.yaml run besides the services; it is no part of the distribution."""
    package = Path("infra") / "compose"
    shutil.copytree(
        root / package, context / "compose" / package, ignore=shutil.ignore_patterns("__pycache__")
    )
