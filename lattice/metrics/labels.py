"""What stands in labels: for each, why there are few values."""

from __future__ import annotations

from collections.abc import Mapping

_SAID = "a few words, which the metric's meaning names"

LABELS: Mapping[str, str] = {
    "agent_version": "a version of Lattice",
    "arch": "as the Engine calls it: amd64, arm64",
    "cause": _SAID,
    "change": "what happened to an alert, as its messages have it",
    "channel": "a channel of the catalogue (channels.md)",
    "consumer": "a durable consumer of the catalogue",
    "desired": "running, stopped or removed",
    "engine_version": "a version of the Engine",
    "instance": "an instance's id; gone with its instance",
    "kind": _SAID,
    "level": _SAID,
    "limit": _SAID,
    "loop": "a background loop, as the program names it",
    "method": "GET, POST, PUT, PATCH, DELETE, HEAD or WS",
    "node": "a node's name",
    "node_id": "a node's id",
    "outcome": f"{_SAID}, or the code of an error",
    "path": "the template of a route, as in openapi.json",
    "phase": "a phase of an instance (states.md)",
    "project": "a project's name",
    "reason": _SAID,
    "rpc": "a request of the catalogue (channels.md)",
    "service": "a service of the platform, or agent",
    "severity": "critical, warning or info",
    "sink": "where log lines are sent on to, as it is configured",
    "state": "a state, as states.md has it, or as the metric's meaning says",
    "status": "a status of HTTP, or its class",
    "step": _SAID,
    "stream": "a stream of the catalogue",
    "version": "a version of Lattice",
    "what": _SAID,
    "workload": "a workload's name",
}
