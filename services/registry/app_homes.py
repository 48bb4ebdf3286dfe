"""On which node an app has to be, from where its parts are.  Pure.

Data does not move, so where it is the app is.  Without data the app is where most of it is: that is where the rest of it follows, so parts that
were torn apart (a node that came back in the middle of a move) meet again, and never pass each other on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """A part of an app that is on a node: an instance that may stay there, or data."""

    id: str
    node_id: str
    data: bool = False


def home_of(stands: Sequence[Stand]) -> str | None:
    """The node on which the whole app has to be; None where it is free to go anywhere.  Of equals it is the one with the oldest part."""
    deciding = [each for each in stands if each.data] or stands
    counts = Counter(each.node_id for each in deciding)
    oldest = {node: min(each.id for each in deciding if each.node_id == node) for node in counts}
    return min(counts, key=lambda node: (-counts[node], oldest[node]), default=None)
