"""The labels of lines, and tests of them.  Pure.

A container's labels (`PLACE_LABELS`) are the same for all of its lines, so tests of them say which blocks need not be read at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from lattice.contracts.messages import LabelOp, LabelTest, LineFormat
from lattice.errors import Invalid
from lattice.expressions import compiled
from lattice.log_fields import fields_as
from lattice.log_levels import level_of
from lattice.log_records import Line

PLACE_LABELS = frozenset(["project", "workload", "service_name", "node", "instance"])
LEVEL_LABELS = frozenset(["level", "detected_level"])


class Place(NamedTuple):
    """Where a line comes from, by name."""

    project: str
    workload: str
    node: str
    instance: str

    def label(self, name: str) -> str:
        """One of `PLACE_LABELS`."""
        return str(getattr(self, "workload" if name == "service_name" else name))


def line_label(line: Line, name: str, formats: tuple[LineFormat, ...]) -> str:
    """Any other label."""
    if name == "stream":
        return line.stream
    if name in LEVEL_LABELS:
        return level_of(line.text) or ""
    return fields_as(line.text, formats).get(name, "") if formats else ""


class LabelTests:
    """All of these groups hold if one test of each does.  Raises Invalid for an expression that is none, or a value that is no number."""

    def __init__(self, groups: Iterable[tuple[LabelTest, ...]], formats: tuple[LineFormat, ...]) -> None:
        self._formats = formats
        self._of_place: list[list[tuple[str, Callable[[str], bool]]]] = []
        self._of_line: list[list[tuple[str, Callable[[str], bool]]]] = []
        for group in groups:
            ready = [(test.label, _holds(test)) for test in group]
            self._kind(group).append(ready)

    @property
    def looks_at_lines(self) -> bool:
        """Whether a place alone does not decide."""
        return bool(self._of_line)

    def allow(self, place: Place) -> bool:
        """Whether lines from there can be wanted."""
        return all(any(holds(place.label(name)) for name, holds in group) for group in self._of_place)

    def hold(self, line: Line) -> bool:
        """Whether a line from an allowed place is wanted."""
        return all(
            any(holds(line_label(line, name, self._formats)) for name, holds in group)
            for group in self._of_line
        )

    def _kind(self, group: tuple[LabelTest, ...]) -> list[list[tuple[str, Callable[[str], bool]]]]:
        kinds = {test.label in PLACE_LABELS for test in group}
        if len(kinds) > 1:
            raise Invalid(
                "A label of the container and one of the line cannot be alternatives of each other."
            )
        return self._of_place if kinds == {True} else self._of_line


def _holds(test: LabelTest) -> Callable[[str], bool]:
    value = test.value
    if test.op is LabelOp.IS:
        return lambda found: found == value
    if test.op is LabelOp.IS_NOT:
        return lambda found: found != value
    if test.op in (LabelOp.FITS, LabelOp.FITS_NOT):
        expression, wanted = compiled(value), test.op is LabelOp.FITS
        return lambda found: (expression.fullmatch(found) is not None) is wanted
    return _compares(test.op, _number(value, test.label))


def _compares(op: LabelOp, limit: float) -> Callable[[str], bool]:
    def holds(found: str) -> bool:
        try:
            number = float(found)
        except ValueError:
            return False
        return _ORDERS[op](number, limit)

    return holds


_ORDERS: dict[LabelOp, Callable[[float, float], bool]] = {
    LabelOp.ABOVE: lambda found, limit: found > limit,
    LabelOp.AT_LEAST: lambda found, limit: found >= limit,
    LabelOp.BELOW: lambda found, limit: found < limit,
    LabelOp.AT_MOST: lambda found, limit: found <= limit,
}


def _number(text: str, label: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise Invalid(f"{label} is compared with {text!r}, which is no number.") from error
