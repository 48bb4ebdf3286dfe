"""Lines as OpenTelemetry's log records, in the JSON form of OTLP over HTTP.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from lattice.log_labels import Place
from lattice.log_levels import LogLevel
from services.logs.exporting.batches import Exported

# Each of OpenTelemetry's severities has four numbers; these are the first ones.
_SEVERITIES = {level: 1 + 4 * index for index, level in enumerate(LogLevel)}


def payload(lines: Iterable[Exported]) -> bytes:
    """One request: a resource for each instance."""
    found: dict[Place, list[dict[str, Any]]] = {}
    for exported in lines:
        found.setdefault(exported.place, []).append(_record(exported))
    return orjson.dumps({"resourceLogs": [_resource(place, records) for place, records in found.items()]})


def _resource(place: Place, records: list[dict[str, Any]]) -> dict[str, Any]:
    attributes = {
        "service.name": place.workload,
        "service.namespace": place.project,
        "service.instance.id": place.instance,
        "host.name": place.node,
    }
    return {
        "resource": {"attributes": _attributes(attributes)},
        "scopeLogs": [{"scope": {"name": "lattice"}, "logRecords": records}],
    }


def _record(exported: Exported) -> dict[str, Any]:
    line, level = exported.line, exported.level
    record: dict[str, Any] = {
        "timeUnixNano": str(line.time_ns),
        "observedTimeUnixNano": str(line.time_ns),
        "body": {"stringValue": line.text},
        "attributes": [
            *_attributes({"log.iostream": line.stream, "container.id": exported.source}),
            {"key": "log.record.number", "value": {"intValue": str(line.number)}},
        ],
    }
    if level is not None:
        record |= {"severityNumber": _SEVERITIES[level], "severityText": level.value}
    return record


def _attributes(found: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in found.items()]
