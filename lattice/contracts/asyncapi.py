"""The catalogue as documents: `docs/asyncapi.yaml` (AsyncAPI 3.0) for programs and `docs/channels.md` for people.

    python -m lattice.contracts.asyncapi --write     writes both
    python -m lattice.contracts.asyncapi --check     exit code 1 when a document differs from the catalogue

AsyncAPI describes one application; Lattice is several, so each operation names its part: `registry_sends_fact`, `gateway_asks_get_node`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from lattice import __version__
from lattice.contracts.catalogue import CHANNELS, RPCS, Channel, Rpc
from lattice.contracts.nouns import Noun
from lattice.contracts.streams import Stream
from lattice.contracts.subjects import Address
from lattice.contracts.tables import as_markdown

Document = dict[str, Any]

DOCS = Path(__file__).parents[2] / "docs"

_PLACES = {
    "node_id": "id of a node, given by the registry",
    "workload_id": "id of a workload",
    "route_id": "id of a route",
    "link_id": "id of a workload's name to which others have links",
    "service": "name of a service of the platform",
    "session_id": "id of an interactive session",
    "project": "name of a project; `_platform` for nodes and the platform itself",
    "entity": "kind of thing that the fact is about",
    "verb": "what happened to it, past tense",
    "type": "kind of event",
    "stream": "name of a stream",
    "consumer": "name of a durable consumer",
    "kind": "MAX_DELIVERIES or MSG_TERMINATED",
    "severity": "critical, warning or info",
    "source": "kind of thing that an alert is about",
    "name": "name of an alert",
    "scope": "a project, or `_all`",
    "credential_id": "id of a credential for the bus",
}

# ------------------------------------------------------------------------------------------------ AsyncAPI


def document() -> Document:
    """The whole AsyncAPI document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lattice",
            "version": __version__,
            "description": "Everything that the parts of Lattice say to each other over NATS. Messages are CloudEvents in binary mode.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {
                "host": "nats.lattice.internal:4222",
                "protocol": "nats",
                "description": "TLS 1.3 with client certificates, and a JWT per identity.",
            }
        },
        "channels": {
            **{channel.name: _channel(channel) for channel in CHANNELS},
            **{name: part for rpc in RPCS for name, part in _rpc_channels(rpc).items()},
        },
        "operations": {
            **{name: part for channel in CHANNELS for name, part in _operations(channel).items()},
            **{name: part for rpc in RPCS for name, part in _rpc_operations(rpc).items()},
        },
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def _ref(*path: str) -> Document:
    return {"$ref": "#/" + "/".join(path)}


def _channel(channel: Channel[Any]) -> Document:
    extra = {} if channel.stream is None else {"x-jetstream": _jetstream(channel.stream)}
    return {
        **_addressed(channel.address, channel.meaning),
        "messages": {channel.name: _ref("components", "messages", channel.name)},
        **extra,
    }


def _addressed(address: Address, meaning: str) -> Document:
    parameters = {place: {"description": _PLACES[place]} for place in address.places}
    return {
        "address": address.template,
        "description": meaning,
        **({"parameters": parameters} if parameters else {}),
    }


def _jetstream(stream: Stream) -> Document:
    return {
        "stream": stream.name,
        "retention": "work queue" if stream.work_queue else "limits",
        "max_age_s": stream.max_age_s,
        "max_bytes": stream.max_bytes,
        "max_msgs_per_subject": stream.max_msgs_per_subject,
        "duplicate_window_s": stream.duplicate_window_s,
    }


def _rpc_channels(rpc: Rpc[Any, Any]) -> Document:
    request, reply = rpc.name, f"{rpc.name}_reply"
    return {
        request: {
            **_addressed(rpc.address, rpc.meaning),
            "messages": {request: _ref("components", "messages", request)},
        },
        reply: {
            "address": None,
            "description": f"The private inbox of whoever asked {rpc.name}.",
            "messages": {reply: _ref("components", "messages", reply)},
        },
    }


def _operations(channel: Channel[Any]) -> Document:
    said = {f"{part}_sends_{channel.name}": _operation("send", channel.name) for part in channel.publishers}
    heard = {
        f"{part}_receives_{channel.name}": _operation("receive", channel.name) for part in channel.subscribers
    }
    return said | heard


def _rpc_operations(rpc: Rpc[Any, Any]) -> Document:
    reply = {
        "reply": {
            "channel": _ref("channels", f"{rpc.name}_reply"),
            "messages": [_ref("channels", f"{rpc.name}_reply", "messages", f"{rpc.name}_reply")],
        },
        "x-timeout-s": rpc.timeout_s,
    }
    asked = {f"{part}_asks_{rpc.name}": _operation("send", rpc.name) | reply for part in rpc.callers}
    queue = {"bindings": {"nats": {"queue": rpc.server}}}
    return asked | {f"{rpc.server}_answers_{rpc.name}": _operation("receive", rpc.name) | reply | queue}


def _operation(action: str, channel: str) -> Document:
    return {
        "action": action,
        "channel": _ref("channels", channel),
        "messages": [_ref("channels", channel, "messages", channel)],
    }


def _messages() -> Document:
    messages = {channel.name: _message(channel.payload, binary=channel.binary) for channel in CHANNELS}
    for rpc in RPCS:
        messages[rpc.name] = _message(rpc.request)
        messages[f"{rpc.name}_reply"] = _message(rpc.reply, binary=bool(rpc.bulk)) | {
            "x-error": "An error comes back in the header Lattice-Error, as JSON of code, detail, errors, data."
        }
    return messages


def _message(model: type[Noun], *, binary: bool = False) -> Document:
    schema = _ref("components", "schemas", _schema_name(model))
    if not binary:
        return {"title": model.__name__, "contentType": "application/json", "payload": schema}
    return {
        "title": model.__name__,
        "contentType": "application/octet-stream",
        "payload": {"type": "string", "format": "binary"},
        "headers": {"type": "object", "required": ["Lattice-Meta"], "properties": {"Lattice-Meta": schema}},
    }


def _models() -> list[type[Noun]]:
    used = [channel.payload for channel in CHANNELS]
    used += [model for rpc in RPCS for model in (rpc.request, rpc.reply)]
    return list(dict.fromkeys(used))


@lru_cache(maxsize=1)
def _definitions() -> tuple[dict[type[Noun], str], Document]:
    """Where each model's schema is, and all schemas."""
    where, defined = models_json_schema(
        [(model, "serialization") for model in _models()], ref_template="#/components/schemas/{model}"
    )
    names = {model: str(where[model, "serialization"]["$ref"]).rpartition("/")[2] for model in _models()}
    return names, defined["$defs"]


def _schema_name(model: type[Noun]) -> str:
    return _definitions()[0][model]


def _schemas() -> Document:
    return dict(sorted(_definitions()[1].items()))


def as_yaml() -> str:
    """The document as it stands in `docs/`."""
    import yaml  # only whoever writes the documents needs it

    return "# Written by `python -m lattice.contracts.asyncapi --write`.\n" + yaml.safe_dump(
        document(), sort_keys=False, allow_unicode=True, width=140
    )


# ------------------------------------------------------------------------------------------------ command


def documents() -> dict[Path, str]:
    """What stands in `docs/`, by file."""
    return {DOCS / "asyncapi.yaml": as_yaml(), DOCS / "channels.md": as_markdown()}


def stale() -> list[Path]:
    """The documents that differ from the catalogue."""
    return [path for path, text in documents().items() if not path.exists() or path.read_text() != text]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lattice.contracts.asyncapi", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write the documents")
    what.add_argument("--check", action="store_true", help="say which documents differ from the catalogue")
    if parser.parse_args(arguments).write:
        DOCS.mkdir(exist_ok=True)
        for path, text in documents().items():
            path.write_text(text)
        return 0
    for path in stale():
        sys.stderr.write(
            f"{path} differs from the catalogue: run python -m lattice.contracts.asyncapi --write\n"
        )
    return 1 if stale() else 0


if __name__ == "__main__":
    raise SystemExit(main())
