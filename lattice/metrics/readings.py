"""Readings of metrics, and the tables in which they travel.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from lattice.contracts.messages import SampleTable
from lattice.contracts.messages.metric_samples import Row
from lattice.metrics.declared import SPECS
from lattice.metrics.spec import Kind, MetricSpec


class Reading(NamedTuple):
    """A value of a metric; `labels` are those that its measurer says.  A histogram has several numbers (`MetricSpec.width`)."""

    spec: MetricSpec
    labels: tuple[str, ...]
    values: tuple[float, ...]


def reading(spec: MetricSpec, value: float, *labels: str) -> Reading:
    """One number."""
    return Reading(spec, labels, (value,))


def tables_of(readings: Iterable[Reading]) -> tuple[SampleTable, ...]:
    """Tables with all of them, as few as there are sets of labels."""
    grouped: dict[tuple[str, ...], list[Reading]] = {}
    for each in readings:
        alone = each.spec.kind is Kind.HISTOGRAM
        key = (each.spec.name if alone else "", each.spec.scope, *each.spec.sent_labels)
        grouped.setdefault(key, []).append(each)
    return tuple(_table(group) for group in grouped.values())


def _table(group: list[Reading]) -> SampleTable:
    columns = {spec.name: spec for spec in (each.spec for each in group)}
    cells: dict[tuple[str, ...], dict[str, tuple[float, ...]]] = {}
    for each in group:
        cells.setdefault(each.labels, {})[each.spec.name] = each.values
    rows = tuple((labels, _numbers(columns, found)) for labels, found in cells.items())
    # What is ours needs no proof: validating it again would double the cost of a message.
    return SampleTable.model_construct(metrics=tuple(columns), labels=group[0].spec.sent_labels, rows=rows)


def _numbers(columns: dict[str, MetricSpec], found: dict[str, tuple[float, ...]]) -> tuple[float | None, ...]:
    nothing = (None,)
    return tuple(chain.from_iterable(found.get(name, nothing * spec.width) for name, spec in columns.items()))


def readings_of(table: SampleTable) -> Iterator[Reading]:
    """What a table of known metrics says."""
    specs = [SPECS[name] for name in table.metrics]
    for row in table.rows:
        yield from _readings(specs, row)


def _readings(specs: list[MetricSpec], row: Row) -> Iterator[Reading]:
    labels, numbers = row
    at = 0
    for spec in specs:
        values = tuple(number for number in numbers[at : at + spec.width] if number is not None)
        at += spec.width
        if len(values) == spec.width:
            yield Reading(spec, labels, values)
