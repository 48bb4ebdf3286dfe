"""Which image a template runs from here: the official one if it can be had, else one built from packages."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from infra.images.build import build, fingerprint
from infra.images.engine import built_images, has_image
from infra.images.recipes import Recipe
from infra.images.registry import Registry
from infra.images.workshop import Workshop
from infra.setup.commands import SetupError


class Source(enum.Enum):
    """Where the image comes from; the values are read by people."""

    PRESENT = "already here"
    BUILT_BEFORE = "built before"
    PULLED = "pulled"
    BUILT = "built from packages"


@dataclass(frozen=True)
class Ensured:
    """The image a template can use here, and how it came."""

    image: str
    source: Source
    because: str = ""

    def __str__(self) -> str:
        reason = f", because {self.because}" if self.because else ""
        return f"{self.image} {self.source.value}{reason}"


def find_present(
    recipe: Recipe, *, names: frozenset[str], built: Mapping[str, str], wanted: str
) -> Ensured | None:
    """What this machine already has for a recipe: an official image, or one built from the same sources."""
    for image in recipe.official:
        if image in names:
            return Ensured(image, Source.PRESENT)
    for image, sources in built.items():
        if image.rpartition(":")[0] == recipe.repository and sources == wanted:
            return Ensured(image, Source.BUILT_BEFORE)
    return None


def ensure_image(recipe: Recipe, workshop: Workshop, registry: Registry) -> Ensured:
    """Make sure that the recipe's service can be run here; raises SetupError when there is no way."""
    names = frozenset(image for image in recipe.official if has_image(image))
    present = find_present(recipe, names=names, built=built_images(), wanted=fingerprint(recipe, workshop))
    if present:
        return present
    for image in recipe.official[:1]:
        if registry.pull(image):
            return Ensured(image, Source.PULLED)
    return _build(recipe, workshop, registry)


def _build(recipe: Recipe, workshop: Workshop, registry: Registry) -> Ensured:
    because = _why_not_official(recipe, registry)
    try:
        return Ensured(build(recipe, workshop), Source.BUILT, because)
    except SetupError as error:
        raise SetupError(f"No image for {recipe.name}: {because}, and building it failed:\n{error}") from None


def _why_not_official(recipe: Recipe, registry: Registry) -> str:
    if not recipe.official:
        return "it is made for the tests"
    # The Engine wraps the cause in the steps that led to it; the last part is what a person can act on.
    cause = (registry.away_because or "the registry does not offer it").rpartition(": ")[2]
    return f"{recipe.official[0]} could not be pulled ({cause})"
