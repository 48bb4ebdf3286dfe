"""Questions to the service that gathers metrics: the newest samples, the last day, and what people want to see at a glance."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from lattice.contracts.messages.metric_samples import SampleTable
from lattice.contracts.nouns import Noun

MOST_POINTS = 1_500
MOST_SERIES = 500
MOST_ASKED = 64
SourceKind = Literal["node", "service"]
Asked = Annotated[str, Field(max_length=128)]
Points = tuple[float | None, ...]


class MetricSource(Noun):
    """Who is heard: a node, or a service of the platform, whose id and name are the same."""

    kind: SourceKind
    id: str
    name: str
    taken_at: datetime


class MetricSources(Noun):
    sources: tuple[MetricSource, ...] = ()


class ReadMetrics(Noun):
    """The newest samples of one source."""

    kind: SourceKind
    id: Asked


class MetricOwner(Noun):
    """Whose instance it is, as the registry knows it."""

    project: str
    workload_id: str
    workload: str


class SourceMetrics(Noun):
    """What a source said last; `owners` has each instance that its tables speak of."""

    source: MetricSource
    tables: tuple[SampleTable, ...] = ()
    owners: dict[str, MetricOwner] = {}


class QueryMetrics(Noun):
    """Series of the last day.  What is not set restricts nothing; nodes and workloads are meant by id."""

    metrics: tuple[Asked, ...] = Field((), max_length=MOST_ASKED)
    project: str | None = None
    workload_ids: tuple[Asked, ...] = Field((), max_length=MOST_ASKED)
    node_ids: tuple[Asked, ...] = Field((), max_length=MOST_ASKED)
    about: Literal["workload", "node", "service"] | None = None
    from_s: int = Field(description="since 1970, the first point")
    until_s: int
    step_s: Annotated[int, Field(ge=60, le=86_400)] = 60


class MetricSeries(Noun):
    """One line of a chart; a point is the mean of its step, null where nothing was heard."""

    metric: str
    unit: str = Field("", description="of a point: bytes, bytes/s, cores, …")
    node: str = ""
    node_id: str = ""
    project: str = ""
    workload: str = ""
    workload_id: str = ""
    instance: str = ""
    service: str = ""
    points: Points = ()


class MetricHistory(Noun):
    """Point n of each series is that of the step which begins at `start_s + n * step_s`; `more` says that there are other series."""

    start_s: int
    step_s: int
    series: tuple[MetricSeries, ...] = ()
    more: bool = False


class ReadStats(Noun):
    """How instances or nodes are right now."""

    about: Literal["workload", "node"]
    project: str | None = None
    workload_ids: tuple[Asked, ...] = Field((), max_length=MOST_ASKED)
    limit: Annotated[int, Field(ge=1, le=1_000)] = 500


class StatsView(Noun):
    """What is common to both: what it takes now, of how much, and its processor time of the last hour, in steps of two minutes."""

    node: str
    node_id: str
    taken_at: datetime
    cpu_cores: float | None = Field(None, description="used now, on average over some 15 s")
    cpu_limit_cores: float | None = None
    memory_bytes: float | None = None
    memory_limit_bytes: float | None = None
    received_bytes_per_s: float | None = None
    sent_bytes_per_s: float | None = None
    read_bytes_per_s: float | None = None
    written_bytes_per_s: float | None = None
    cpu_last_hour: Points = ()


class InstanceStats(StatsView):
    """One instance."""

    project: str
    workload: str
    workload_id: str
    instance: str
    up: bool
    ready: bool
    restarts: int = 0
    processes: int | None = None


class NodeStats(StatsView):
    """One node."""

    load1: float | None = None
    disk_bytes: float | None = None
    disk_size_bytes: float | None = None
    engine_up: bool = True


class Stats(Noun):
    """In the order of project, workload and instance, or of nodes' names; `more` says that there are others."""

    instances: tuple[InstanceStats, ...] = ()
    nodes: tuple[NodeStats, ...] = ()
    more: bool = False
