"""When a segment is full, and which segments go: those that are too old, and then each project's oldest until it keeps to its size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_NS = 10**9


@dataclass(frozen=True, slots=True)
class Policy:
    """How long and how much is kept."""

    max_age_s: float
    max_bytes_per_project: int


@dataclass(frozen=True, slots=True)
class Limits:
    """When a segment is full."""

    segment_bytes: int
    segment_age_s: float


def is_full(began_ns: int, size_bytes: int, limits: Limits, now_ns: int) -> bool:
    """Whether a segment that began then is followed by another; so old that what is let go with it is of about the same age."""
    return now_ns - began_ns > limits.segment_age_s * _NS or size_bytes >= limits.segment_bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """A segment: how big, when its last block was stored, and whether blocks are still added to it."""

    path: Path
    project: str
    size_bytes: int
    newest_ns: int
    growing: bool


@dataclass(frozen=True, slots=True)
class Removal:
    """A segment that goes, and why."""

    path: Path
    reason: str


def removals(segments: Iterable[Kept], policy: Policy, now_ns: int) -> list[Removal]:
    """What goes now.  A segment that still grows goes only by age: its workload has been silent since."""
    found, staying = [], defaultdict(list)
    oldest_ns = now_ns - int(policy.max_age_s * _NS)
    for segment in segments:
        if segment.newest_ns < oldest_ns:
            found.append(Removal(segment.path, f"older than {policy.max_age_s / 86400:g} days"))
        else:
            staying[segment.project].append(segment)
    for project in sorted(staying):
        found.extend(_over_size(staying[project], policy.max_bytes_per_project))
    return found


def _over_size(segments: list[Kept], max_bytes: int) -> list[Removal]:
    excess = sum(segment.size_bytes for segment in segments) - max_bytes
    found = []
    for segment in sorted(segments, key=lambda segment: (segment.newest_ns, segment.path)):
        if excess > 0 and not segment.growing:
            found.append(Removal(segment.path, f"its project keeps at most {max_bytes} bytes"))
            excess -= segment.size_bytes
    return found
