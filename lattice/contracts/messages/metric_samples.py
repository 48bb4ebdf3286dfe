"""What is measured, on its way from nodes and services to the service that gathers it.

A row has many numbers, because the values of 20 containers, each with its name and labels, are ten times as long.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from lattice.contracts.nouns import Id, NodeId, Noun

# One message is at most 1 MiB; a node with 20 containers sends some 8 KiB.
MOST_TABLES = 128
MOST_ROWS = 5_000
MOST_METRICS = 64

LabelValue = Annotated[str, Field(max_length=128)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Row = tuple[tuple[LabelValue, ...], tuple[Number | None, ...]]


class SampleTable(Noun):
    """Metrics with the same labels: a row for each combination of their values, with a number for each metric, null where there is none.

    A histogram is alone in its table, and its numbers are the counts of its buckets, each with those before it, all that there are, and their sum.
    """

    metrics: tuple[LabelValue, ...] = Field(min_length=1, max_length=MOST_METRICS)
    labels: tuple[LabelValue, ...] = Field((), max_length=8)
    rows: tuple[Row, ...] = Field(max_length=MOST_ROWS)


class NodeMetrics(Noun):
    """Everything that one agent measures: its machine, its instances and itself; every 15 s."""

    node_id: NodeId
    taken_at: datetime
    tables: tuple[SampleTable, ...] = Field(max_length=MOST_TABLES)


class ServiceMetrics(Noun):
    """Everything that one service of the platform counts; every 15 s."""

    service: Id
    taken_at: datetime
    tables: tuple[SampleTable, ...] = Field(max_length=MOST_TABLES)
