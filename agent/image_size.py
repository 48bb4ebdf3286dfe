"""How large an image is, from its registry's manifests, and whether the node has room for it.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lattice.contracts.nouns import LocalImage
from lattice.contracts.quantities import format_size
from lattice.image_reference import parse_reference

UNPACKED_FACTOR = 2.0
"""What an image takes on the disk per byte of its compressed layers, told low: debian:12 takes 2.4, python:3.11 2.8."""

Json = Mapping[str, Any]


def digest_for(index: Json, arch: str) -> str | None:
    """Which manifest of an index the Engine of this architecture takes; None if it names none, or is no index."""
    for each in _objects(index.get("manifests")):
        platform = each.get("platform")
        if isinstance(platform, dict) and (platform.get("os"), platform.get("architecture")) == (
            "linux",
            arch,
        ):
            digest = each.get("digest")
            return digest if isinstance(digest, str) else None
    return None


def compressed_bytes(manifest: Json) -> int | None:
    """The sum of the layers; None where the manifest does not tell all of them."""
    layers = _objects(manifest.get("layers"))
    sizes = [layer.get("size") for layer in layers]
    known = [size for size in sizes if isinstance(size, int) and size >= 0]
    return sum(known) if layers and len(known) == len(sizes) else None


def lacks_room(reference: str, compressed: int, free: int) -> str | None:
    """Why an image does not fit, or None."""
    needed = int(compressed * UNPACKED_FACTOR)
    if needed <= free:
        return None
    return (
        f"image {reference} is {format_size(compressed)} to download and takes about {format_size(needed)}, and the node has "
        f"{format_size(free)} free: free some space on it, or use a smaller image"
    )


def shares_layers(reference: str, held: Iterable[LocalImage]) -> bool:
    """Whether another version of the image is here: then most of it need not be fetched, and nobody can say how much."""
    wanted = parse_reference(reference).familiar
    return any(parse_reference(name).familiar == wanted for image in held for name in image.references)


def _objects(found: object) -> list[Json]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
