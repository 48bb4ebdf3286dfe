"""What is taken of the tables that arrive: metrics that are declared, with their labels, each once.  Pure.

A metric that is not known is left out by itself, because a newer agent may measure more; a row that does not fit its table is left out, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from lattice.contracts.messages import SampleTable
from lattice.contracts.messages.metric_samples import MOST_ROWS, Row
from lattice.metrics.declared import SPECS
from lattice.metrics.spec import Kind, MetricSpec, Scope

UNKNOWN, SHAPE, OWNER, LIMIT = "unknown", "shape", "owner", "limit"


@dataclass(slots=True)
class Checked:
    """The tables that are taken, and how many rows are left out, by reason."""

    tables: list[SampleTable] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    _seen: set[str] = field(default_factory=set)
    _rows: int = 0

    def take(self, table: SampleTable, scopes: Collection[Scope]) -> None:
        """Look at one table; its sender may speak of these scopes."""
        specs = [SPECS.get(name) for name in table.metrics]
        if not _agree(table, [each for each in specs if each is not None], scopes):
            self.refused[UNKNOWN] += len(table.rows)
            return
        again = self._seen.intersection(table.metrics)
        self._seen.update(table.metrics)
        if again or len(set(table.metrics)) < len(table.metrics):
            self.refused[SHAPE] += len(table.rows)
            return
        rows = self._fitting(table.rows, len(table.labels), _width(specs))
        if None in specs:
            self.refused[UNKNOWN] += len(rows)
            rows = _without_unknown(rows, specs)
        names = tuple(each.name for each in specs if each is not None)
        self.tables.append(SampleTable.model_construct(metrics=names, labels=table.labels, rows=tuple(rows)))

    def _fitting(self, rows: Iterable[Row], labels: int, width: int) -> list[Row]:
        found, known = [], set[tuple[str, ...]]()
        for row in rows:
            fits = len(row[0]) == labels and len(row[1]) == width and row[0] not in known
            if not fits or not all(map(str.isprintable, row[0])):
                self.refused[SHAPE] += 1
            elif self._rows >= MOST_ROWS:
                self.refused[LIMIT] += 1
            else:
                found.append(row)
                known.add(row[0])
                self._rows += 1
        return found


def checked(tables: Iterable[SampleTable], scopes: Collection[Scope]) -> Checked:
    """What is taken of a message."""
    found = Checked()
    for table in tables:
        found.take(table, scopes)
    return found


def _agree(table: SampleTable, specs: list[MetricSpec], scopes: Collection[Scope]) -> bool:
    """Whether the metrics that are known may be told, and in one table."""
    if not specs or len({each.scope for each in specs}) > 1:
        return False
    alone = len(table.metrics) == 1 or all(each.kind is not Kind.HISTOGRAM for each in specs)
    return alone and all(each.sent_labels == table.labels and each.scope in scopes for each in specs)


def _width(specs: list[MetricSpec | None]) -> int:
    """How many numbers a row has; one that is not known is no histogram, since it is not alone."""
    return sum(1 if each is None else each.width for each in specs)


def _without_unknown(rows: list[Row], specs: list[MetricSpec | None]) -> list[Row]:
    kept = [number for number, each in enumerate(specs) if each is not None]
    return [(labels, tuple(numbers[number] for number in kept)) for labels, numbers in rows]
