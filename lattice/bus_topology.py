"""Makes streams and consumers as the contracts declare them: create, or update what differs; never delete and make anew.

Run at each start.  It also heals: a stream whose metadata was lost is found again by its files, with all its messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lattice.bus_append import refusal
from lattice.bus_requests import Requests
from lattice.contracts.streams import Consumer, Stream

_TIMEOUT_S = 10.0
_NS = 1_000_000_000
_NAME_IN_USE = 10058


async def ensure(
    requests: Requests, streams: Iterable[Stream], consumers: Iterable[Consumer], *, replicas: int
) -> None:
    """Raises Temporary when the server does not answer or refuses a change."""
    for stream in streams:
        await _ensure_stream(requests, stream_config(stream, replicas=replicas))
    for consumer in consumers:
        subject = f"$JS.API.CONSUMER.CREATE.{consumer.stream}.{consumer.durable}"
        await _ask(requests, subject, {"stream_name": consumer.stream, "config": consumer_config(consumer)})


async def _ensure_stream(requests: Requests, config: dict[str, Any]) -> None:
    name = config["name"]
    error = (await _said(requests, f"$JS.API.STREAM.CREATE.{name}", config)).get("error", {})
    if error.get("err_code") == _NAME_IN_USE:
        await _ask(requests, f"$JS.API.STREAM.UPDATE.{name}", config)
    elif error:
        raise refusal(error)


async def _ask(requests: Requests, subject: str, body: dict[str, Any]) -> None:
    said = await _said(requests, subject, body)
    if "error" in said:
        raise refusal(said["error"])


async def _said(requests: Requests, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    reply = await requests.ask(subject, json.dumps(body).encode(), timeout_s=_TIMEOUT_S)
    said: dict[str, Any] = json.loads(reply.payload)
    return said


def stream_config(stream: Stream, *, replicas: int) -> dict[str, Any]:
    """The server's own form of a stream."""
    config: dict[str, Any] = {
        "name": stream.name,
        "description": stream.meaning,
        "subjects": list(stream.subjects),
        "retention": "workqueue" if stream.work_queue else "limits",
        "storage": "file",
        # Writing without fsync per message exists for one replica only.
        "num_replicas": 1 if stream.asynchronous else replicas,
        "max_bytes": stream.max_bytes,
        "max_age": int(stream.max_age_s * _NS),
        "max_msgs": -1,
        "max_msgs_per_subject": stream.max_msgs_per_subject,
        "max_msg_size": stream.max_msg_bytes,
        "max_consumers": stream.max_consumers,
        "discard": "new" if stream.discard_new else "old",
        "duplicate_window": int(stream.duplicate_window_s * _NS),
        "allow_direct": stream.allow_direct,
        "deny_delete": stream.deny_delete,
        "allow_msg_ttl": stream.message_ttl,
        "allow_atomic": takes_batches(stream),
        "compression": "s2" if stream.compressed else "none",
    }
    if stream.republish is not None:
        config["republish"] = {"src": stream.republish[0], "dest": stream.republish[1]}
    if stream.transform is not None:
        config["subject_transform"] = {"src": stream.transform[0], "dest": stream.transform[1]}
    if stream.asynchronous:
        config["persist_mode"] = "async"
    return config


def takes_batches(stream: Stream) -> bool:
    """Whether many messages can be added as one; not where nothing waits for the disk anyway."""
    return not stream.asynchronous


def consumer_config(consumer: Consumer) -> dict[str, Any]:
    """The server's own form of a durable consumer."""
    return {
        "name": consumer.durable,
        "durable_name": consumer.durable,
        "description": consumer.meaning,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "replay_policy": "instant",
        "filter_subjects": list(consumer.filter_subjects),
        "backoff": [int(pause_s * _NS) for pause_s in consumer.backoff_s],
        "max_deliver": consumer.max_deliver,
        "max_ack_pending": consumer.max_ack_pending,
    }
