"""Answers in the form in which Loki gives them.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from lattice.contracts.messages import ListedLog
from lattice.log_fields import fields_as
from lattice.log_labels import LEVEL_LABELS
from lattice.log_levels import LogLevel
from services.gateway.log_lines import time_ns_of_text
from services.gateway.logql import LogSearch
from services.gateway.loki_windows import Points, number_text

LABELS = ("instance", "level", "node", "project", "service_name", "stream", "workload")
_STREAMS = ("gap", "stderr", "stdout")
_NS = 10**9

Line = Mapping[str, Any]


def succeeded(data: Any) -> bytes:
    """The answer around everything but statistics."""
    return orjson.dumps({"status": "success", "data": data})


def streams(lines: Iterable[Line], search: LogSearch) -> bytes:
    """Lines by their labels, in the order in which they are given."""
    return succeeded({"resultType": "streams", "result": grouped(lines, search), "stats": {}})


def grouped(lines: Iterable[Line], search: LogSearch) -> list[dict[str, Any]]:
    """The same as `tail` sends it."""
    found: dict[tuple[tuple[str, str], ...], list[tuple[str, str]]] = {}
    for line in lines:
        labels = tuple(sorted(labels_of(line, search).items()))
        found.setdefault(labels, []).append((str(time_ns_of_text(line["time"])), line["message"]))
    return [{"stream": dict(labels), "values": values} for labels, values in found.items()]


def labels_of(line: Line, search: LogSearch) -> dict[str, str]:
    """Where a line comes from, how grave it is, and what its text says of itself."""
    found = {name: line["workload" if name == "service_name" else name] or "" for name in LABELS}
    for name, value in fields_as(line["message"], tuple(search.formats)).items():
        found[f"{name}_extracted" if name in found else name] = value
    return {name: value for name, value in found.items() if value and name not in search.dropped}


def matrix(series: Iterable[tuple[dict[str, str], Points]]) -> bytes:
    """Numbers over time, for each set of labels."""
    result = [
        {"metric": metric, "values": [[time_ns / _NS, value] for time_ns, value in points]}
        for metric, points in series
        if points
    ]
    return succeeded({"resultType": "matrix", "result": result, "stats": {}})


def vector(series: Iterable[tuple[dict[str, str], Points]]) -> bytes:
    """The newest number of each set of labels."""
    result = [
        {"metric": metric, "value": [points[-1][0] / _NS, points[-1][1]]}
        for metric, points in series
        if points
    ]
    return succeeded({"resultType": "vector", "result": result, "stats": {}})


def constant(value: float, times_ns: Sequence[int]) -> list[tuple[dict[str, str], Points]]:
    """The same number at all times, as a series without labels."""
    return [({}, [(time_ns, number_text(value)) for time_ns in times_ns])]


def place_labels(log: ListedLog) -> dict[str, str]:
    """The labels that all lines of an instance share."""
    return {
        "project": log.project,
        "workload": log.workload,
        "service_name": log.workload,
        "node": log.node,
        "instance": log.instance,
    }


def values_of(name: str, logs: Iterable[ListedLog]) -> list[str]:
    """The values that a label has."""
    if name == "stream":
        return list(_STREAMS)
    if name in LEVEL_LABELS:
        return sorted(LogLevel)
    return sorted({value for log in logs if (value := place_labels(log).get(name))})


def stats(logs: Sequence[ListedLog]) -> bytes:
    """How much there is, without `status` and `data`: so Loki answers this one."""
    total = {
        "streams": len(logs),
        "chunks": sum(log.blocks for log in logs),
        "bytes": sum(log.size_bytes for log in logs),
        "entries": sum(log.lines for log in logs),
    }
    return orjson.dumps(total)


def volumes(
    logs: Iterable[ListedLog], names: Sequence[str], *, at_ns: int, most: int
) -> list[tuple[dict[str, str], Points]]:
    """Bytes for each value of some labels, the most first."""
    found: dict[tuple[tuple[str, str], ...], int] = {}
    for log in logs:
        labels = tuple((name, value) for name, value in place_labels(log).items() if name in names)
        found[labels] = found.get(labels, 0) + log.size_bytes
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:most]
    return [(dict(labels), [(at_ns, str(size))]) for labels, size in ordered if labels]


def detected_labels(logs: Sequence[ListedLog]) -> bytes:
    """Labels and how many values each has, without `status`."""
    found = [{"label": name, "cardinality": len(values_of(name, logs))} for name in LABELS] if logs else []
    return orjson.dumps({"detectedLabels": found})


def detected_fields(lines: Sequence[Line], search: LogSearch) -> bytes:
    """The fields that some lines have in their own text, without `status`."""
    values: dict[str, set[str]] = {}
    for line in lines:
        for name, value in fields_as(line["message"], tuple(search.formats)).items():
            values.setdefault(name, set()).add(value)
    found = [
        {"label": name, "type": "string", "cardinality": len(values[name]), "parsers": list(search.formats)}
        for name in sorted(values)
    ]
    return orjson.dumps({"fields": found, "limit": 1000})
