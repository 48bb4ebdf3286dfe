"""Which packed segments are copied to the object store, and which local copies go: the old ones, then the oldest until the rest fits.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_NS = 10**9


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """How long and how much is kept on the local disk as well."""

    local_age_s: float
    local_bytes: int


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """A packed segment on the local disk, and whether the object store has it."""

    path: Path
    size_bytes: int
    newest_ns: int
    copied: bool


@dataclass(frozen=True, slots=True)
class Drop:
    """A local copy that goes, and why."""

    path: Path
    reason: str


def to_copy(local: Iterable[LocalCopy]) -> list[Path]:
    """What the object store does not have yet, the oldest first."""
    return [each.path for each in sorted(local, key=_age) if not each.copied]


def to_drop(local: Iterable[LocalCopy], policy: TierPolicy, now_ns: int) -> list[Drop]:
    """The local copies that go now; never one that the object store does not have."""
    found, oldest_ns = [], now_ns - int(policy.local_age_s * _NS)
    copies = sorted(local, key=_age)
    excess = sum(each.size_bytes for each in copies) - policy.local_bytes
    for each in copies:
        if each.copied and (each.newest_ns < oldest_ns or excess > 0):
            found.append(
                Drop(each.path, "old" if each.newest_ns < oldest_ns else "the disk is for newer ones")
            )
            excess -= each.size_bytes
    return found


def _age(copy: LocalCopy) -> tuple[int, Path]:
    return copy.newest_ns, copy.path
