"""Lines as Loki's push API takes them: JSON, grouped by labels.  Pure."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from services.logs.exporting.batches import Exported


def payload(lines: Iterable[Exported]) -> bytes:
    """One push."""
    streams: dict[tuple[tuple[str, str], ...], list[tuple[str, str]]] = {}
    for exported in lines:
        labels = tuple(_labels(exported).items())
        streams.setdefault(labels, []).append((str(exported.line.time_ns), exported.line.text))
    found = [{"stream": dict(labels), "values": values} for labels, values in streams.items()]
    return orjson.dumps({"streams": found})


def _labels(exported: Exported) -> dict[str, str]:
    place = exported.place
    found = {
        "project": place.project, "workload": place.workload, "service_name": place.workload, "node": place.node,
        "instance": place.instance, "stream": exported.line.stream, "level": exported.level or "",
    }  # fmt: skip
    return {name: value for name, value in found.items() if value}
