"""Which content a workload runs, decided once at accept so that a tag that moves later changes nothing.

The registry's digest counts if it answers; else the image id that candidate nodes report, and then the workload runs only there; else the
request is refused with the reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from lattice.contracts.nouns import LocalImage
from lattice.contracts.spec import PullPolicy
from lattice.image_reference import ImageReference, parse_reference
from services.registry.expansion import ImageChoice


class Answer(StrEnum):
    """What an image's registry said."""

    FOUND = "found"
    MISSING = "missing"
    DENIED = "denied"
    AWAY = "away"
    NOT_ASKED = "not-asked"


@dataclass(frozen=True, slots=True)
class RegistryAnswer:
    """The digest, or why there is none."""

    answer: Answer
    digest: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PinnedImage:
    """What to run.  With `image_id` it exists on `only_nodes` alone and is never pulled."""

    reference: str
    image_id: str | None = None
    only_nodes: tuple[str, ...] | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ImageRefused:
    """Why there is nothing to run."""

    detail: str


def needs_registry(choice: ImageChoice, pull: PullPolicy) -> bool:
    """Whether the image's registry has to be asked at all."""
    return (
        pull is not PullPolicy.NEVER
        and parse_reference(choice.wanted).digest is None
        and not _is_local(choice.wanted)
    )


def is_known(choice: ImageChoice, pull: PullPolicy, answer: RegistryAnswer) -> bool:
    """Whether it is certain what the image is, wherever it lies: `pin` then looks at no node."""
    written = parse_reference(choice.wanted).digest is not None and pull is not PullPolicy.NEVER
    return written or (answer.answer is Answer.FOUND and bool(answer.digest))


def pin(
    choice: ImageChoice, pull: PullPolicy, answer: RegistryAnswer, nodes: Mapping[str, Iterable[LocalImage]]
) -> PinnedImage | ImageRefused:
    """The content to run, or why there is none.  `nodes` are the images of each node that may be used."""
    reference = parse_reference(choice.wanted)
    if reference.digest and pull is not PullPolicy.NEVER:
        return PinnedImage(
            reference=reference.by_digest(reference.digest), reason="pinned by whoever wrote it"
        )
    if answer.answer is Answer.FOUND and answer.digest:
        return PinnedImage(
            reference=reference.by_digest(answer.digest), reason="digest given by its registry"
        )
    if pull is PullPolicy.ALWAYS:
        return ImageRefused(_explain(reference, answer, "pull: always needs its registry"))
    here = _holders(nodes, lambda name: name in (reference.by_tag, choice.wanted))
    if here is not None:
        return _local(reference.by_tag, here, f"{_because(answer)}; present on nodes")
    if choice.local is not None and answer.answer is not Answer.DENIED:
        return _newest_local(choice.local, reference, answer, nodes)
    return ImageRefused(_explain(reference, answer, "and no node has it"))


def _is_local(image: str) -> bool:
    return image.startswith("lattice.local/")


def _newest_local(
    name: str, wanted: ImageReference, answer: RegistryAnswer, nodes: Mapping[str, Iterable[LocalImage]]
) -> PinnedImage | ImageRefused:
    tags = {
        reference
        for images in nodes.values()
        for image in images
        for reference in image.references
        if reference.startswith(f"{name}:")
    }
    if not tags:
        return ImageRefused(
            _explain(wanted, answer, f"and no node has it or {name}; `make setup` builds that one")
        )
    newest = max(tags, key=_version_key)
    here = _holders(nodes, lambda reference: reference == newest)
    if here is None:
        raise AssertionError(f"{newest} was just seen")
    return _local(
        newest, here, f"{_because(answer)}; built from the distribution's packages instead of {wanted.by_tag}"
    )


def _holders(
    nodes: Mapping[str, Iterable[LocalImage]], matches: Callable[[str], bool]
) -> tuple[str, tuple[str, ...]] | None:
    """(image id, nodes): of the ids under a matching name the one that most nodes have."""
    found = [
        (image.id, node_id)
        for node_id, images in nodes.items()
        for image in images
        if any(matches(reference) for reference in image.references)
    ]
    if not found:
        return None
    counts = Counter(image_id for image_id, _ in found)
    best = min(counts, key=lambda image_id: (-counts[image_id], image_id))
    return best, tuple(sorted({node_id for image_id, node_id in found if image_id == best}))


def _local(reference: str, here: tuple[str, tuple[str, ...]], reason: str) -> PinnedImage:
    image_id, nodes = here
    return PinnedImage(reference=reference, image_id=image_id, only_nodes=nodes, reason=reason)


def _because(answer: RegistryAnswer) -> str:
    return {
        Answer.MISSING: "its registry does not have it",
        Answer.DENIED: "its registry refused us",
        Answer.AWAY: "its registry did not answer",
    }.get(answer.answer, "its registry was not asked")


def _explain(reference: ImageReference, answer: RegistryAnswer, rest: str) -> str:
    detail = f" ({answer.detail})" if answer.detail else ""
    advice = {
        Answer.MISSING: "Check the name and the tag.",
        Answer.DENIED: "Give its registry's user and password: `lattice secret set NAME`, then `pull_secret: NAME`.",
        Answer.AWAY: "Check the registry's name and this platform's network, or load the image on a node.",
    }.get(answer.answer, "Load it on a node, or allow pulling it.")
    return f"image {reference.by_tag} cannot be used: {_because(answer)}{detail}, {rest}. {advice}"


def _version_key(reference: str) -> tuple[tuple[int, str], ...]:
    tag = reference.rpartition(":")[2]
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"[.+~-]", tag))
