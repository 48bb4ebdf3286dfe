"""What we ask of the Docker Engine for images, through its command line client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from infra.setup.commands import run, succeeds

BUILT_LABEL = "local.lattice.built"
SOURCES_LABEL = "local.lattice.sources"


def built_images() -> Mapping[str, str]:
    """Names of the images that were built here, each with the fingerprint of its sources."""
    ids = run(["docker", "image", "ls", "--quiet", "--filter", f"label={SOURCES_LABEL}"]).split()
    if not ids:
        return {}
    details = json.loads(run(["docker", "image", "inspect", *sorted(set(ids))]))
    return {name: image["Config"]["Labels"][SOURCES_LABEL] for image in details for name in image["RepoTags"]}


def has_image(name: str) -> bool:
    """Whether the Engine has an image of this name."""
    return succeeds(["docker", "image", "inspect", "--format", "{{.Id}}", name])


def build_image(
    context: Path,
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    arguments: Mapping[str, str] | None = None,
    target: str | None = None,
) -> None:
    """Build the Dockerfile in `context`, or what it calls `target`, and call the image `name`."""
    options = _pairs("--label", {**(labels or {}), BUILT_LABEL: name}) + _pairs(
        "--build-arg", arguments or {}
    )
    options += ["--target", target] if target else []
    # Debian's docker.io has no buildx, without which newer clients refuse to build unless told to use the old
    # way.
    run(["docker", "build", "--quiet", "--tag", name, *options, str(context)], env={"DOCKER_BUILDKIT": "0"})
    # What the name stood for before has no name now; the filter keeps other people's nameless images out of it.
    run(["docker", "image", "prune", "--force", "--filter", f"label={BUILT_LABEL}"])


def _pairs(option: str, values: Mapping[str, str]) -> list[str]:
    return [word for key, value in values.items() for word in (option, f"{key}={value}")]
