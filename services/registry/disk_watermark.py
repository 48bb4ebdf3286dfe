"""Whether a node's disk is too full for new work: pure, from what the node reports of itself.

What stands there stays.  Between the two marks a node is as it was: without the gap, one image that is pulled and removed would close and
open a node with every heartbeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# A percent that is told is put right once it is off by so much; a disk that hovers at a border must not write a row with each heartbeat.
_TOLD_ANEW_PERCENT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """Fuller than the first: no new work; emptier than the second: new work again.

    85 is Elasticsearch's low disk watermark, above which it allocates nothing more to a node; 85 and 80 are the kubelet's marks between which it
    makes room.  100 for both turns the watermark off.
    """

    refuse_above_percent: int = 85
    accept_below_percent: int = 80


DEFAULT_WATERMARK = Watermark()


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFull:
    """How full a disk was when it was said to be too full, and the marks that it was held against."""

    percent: int
    refuse_above_percent: int
    accept_below_percent: int

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> DiskFull:
        """As it was stored (`dataclasses.asdict`)."""
        return cls(**stored)

    @property
    def reason(self) -> str:
        """Why new work is refused: `disk 91 % full, new work is refused above 85 %`."""
        if self.percent > self.refuse_above_percent:
            return f"disk {self.percent} % full, new work is refused above {self.refuse_above_percent} %"
        return (
            f"disk {self.percent} % full, new work is refused until it is below {self.accept_below_percent} %"
        )


def disk_full(
    known: DiskFull | None, used_bytes: int, free_bytes: int | None, watermark: Watermark
) -> DiskFull | None:
    """Whether the disk is too full now, and how full; None while it is not, or while nobody knows.

    Full is what is used of what is used and free, as `df` counts: blocks that a file system reserves are nobody's to use.
    """
    if free_bytes is None or used_bytes + free_bytes <= 0:
        return None
    percent = -(-used_bytes * 100 // (used_bytes + free_bytes))  # rounded up: more than 85 % is told as 86 %
    mark = watermark.refuse_above_percent if known is None else watermark.accept_below_percent - 1
    if percent <= mark:
        return None
    found = DiskFull(
        percent=percent,
        refuse_above_percent=watermark.refuse_above_percent,
        accept_below_percent=watermark.accept_below_percent,
    )
    return known if known is not None and _is_as_told(known, found) else found


def _is_as_told(known: DiskFull, found: DiskFull) -> bool:
    same_marks = (known.refuse_above_percent, known.accept_below_percent) == (
        found.refuse_above_percent,
        found.accept_below_percent,
    )
    return same_marks and abs(known.percent - found.percent) < _TOLD_ANEW_PERCENT
