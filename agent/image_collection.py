"""Which image that Lattice pulled may go, and why: image garbage collection, decided.  Pure.

Only an image that the agent pulled itself can be named here, and only while nothing speaks for it: no container of anybody, no desired document,
no name that a person gave it.  What is not known is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.facts import PulledImage
from lattice.contracts.messages import DesiredDocument
from lattice.contracts.nouns import LocalImage
from lattice.image_reference import parse_reference

NEVER_PERCENT = 100.0
"""A high mark of this turns it off, as for the kubelet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRules:
    """When the disk counts as full, and how long an image must have been unused; as the kubelet does it by default
    (`imageGCHighThresholdPercent` 85, `imageGCLowThresholdPercent` 80, `imageMinimumGCAge` 2m)."""

    high_percent: float = 85.0
    low_percent: float = 80.0
    min_age: timedelta = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """An image to remove: by these names, one after the other, or by its id where it has none."""

    image_id: str
    names: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a desired document asks for, by name and by id."""

    names: frozenset[str]
    ids: frozenset[str]


def wanted_by(document: DesiredDocument) -> Wanted:
    """The images of a document's instances, also of those that are to be stopped: they may be started again."""
    runs = [instance.run for instance in document.instances]
    return Wanted(
        names=frozenset(canonical(run.image) for run in runs),
        ids=frozenset(run.image_id for run in runs if run.image_id is not None),
    )


def canonical(reference: str) -> str:
    """One spelling for all of the same image: `docker.io/library/redis` is `redis:latest`, a digest counts more than a tag."""
    parsed = parse_reference(reference)
    return parsed.by_digest(parsed.digest) if parsed.digest else parsed.by_tag


def noted(
    pulled: Mapping[str, PulledImage], held: Iterable[LocalImage], in_use: Collection[str], now: datetime
) -> dict[str, PulledImage]:
    """What is remembered after a look at the Engine: since when each is unused; what is gone is forgotten."""
    here = {image.id for image in held}
    return {
        image_id: image.model_copy(
            update={"unused_since": None if image_id in in_use else image.unused_since or now}
        )
        for image_id, image in pulled.items()
        if image_id in here
    }


def next_removal(
    pulled: Mapping[str, PulledImage],
    held: Iterable[LocalImage],
    in_use: Collection[str],
    wanted: Wanted,
    *,
    disk_percent: float,
    begun: bool,
    rules: CollectionRules,
    now: datetime,
) -> Removal | None:
    """The image to remove now, if any: the one unused for longest.  `begun` says that some went already, so the low mark counts."""
    mark = rules.low_percent if begun else rules.high_percent
    if rules.high_percent >= NEVER_PERCENT or disk_percent < mark:
        return None
    free = [
        (image.unused_since, found)
        for found in held
        if (image := pulled.get(found.id)) is not None
        and image.unused_since is not None
        and now - image.unused_since >= rules.min_age
        and not _is_spoken_for(found, image, in_use, wanted)
    ]
    if not free:
        return None
    since, chosen = min(free, key=lambda each: (each[0], each[1].id))
    reason = (
        f"nothing has used it since {since:%Y-%m-%d %H:%M} UTC, and the disk is {disk_percent:.0f} % full"
    )
    return Removal(image_id=chosen.id, names=chosen.references, reason=reason)


def _is_spoken_for(found: LocalImage, image: PulledImage, in_use: Collection[str], wanted: Wanted) -> bool:
    names = {canonical(name) for name in (*found.references, *image.references)}
    if found.id in in_use or found.id in wanted.ids or names & wanted.names:
        return True
    return not all(is_own_name(name, image.references) for name in found.references)


def is_own_name(name: str, pulled_as: Collection[str]) -> bool:
    """Whether the Engine gave an image this name because we pulled it so; any other name is a person's.

    A pull by tag leaves the tag and a digest of the same repository, a pull by digest the digest alone.
    """
    shown = parse_reference(name)
    if shown.digest is None:
        return canonical(name) in {canonical(each) for each in pulled_as}
    return shown.familiar in {parse_reference(each).familiar for each in pulled_as}
