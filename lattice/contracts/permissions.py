"""NATS allow-lists, derived from the catalogue: allow only, no deny rules, one private inbox per identity.

A node's list is a template: the server fills `{{name()}}` with the node id of the JWT, so one signing key serves all nodes and none can
reach another's subjects.  Nodes never get `$JS.API.>`: with CONSUMER.CREATE or the body form of DIRECT.GET a node could read everybody's
documents, and with STREAM.PURGE it could erase them.
"""

from __future__ import annotations

from dataclasses import dataclass

from lattice.contracts.catalogue import CHANNELS, DESIRED_DOCUMENT, EVERY_SCOPE, NODE, RPCS, SRE
from lattice.contracts.streams import CONSUMERS, LEASE_BUCKET, LEASES, STREAMS

_NODE_NAME = "{{name()}}"


@dataclass(frozen=True, slots=True)
class Permissions:
    """What one identity may publish and subscribe to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    # May answer a request once, on whatever inbox it came with.
    may_reply: bool = False


def inbox_prefix(identity: str) -> str:
    """Where an identity receives replies; nobody else may listen there."""
    return f"_INBOX_{identity}"


def _mine(template: str) -> str:
    """The node's own form of an address: its id in the place `node_id`, anything in the others."""
    return ".".join(
        _NODE_NAME if token == "{node_id}" else "*" if token.startswith("{") else token
        for token in template.split(".")
    )


def node_permissions() -> Permissions:
    """The template for every node (the server fills in its name)."""
    publish = [_mine(channel.address.template) for channel in CHANNELS if NODE in channel.publishers]
    subscribe = [
        _mine(channel.address.template)
        for channel in CHANNELS
        if NODE in channel.subscribers and channel is not DESIRED_DOCUMENT
    ]
    subscribe += [_mine(rpc.address.template) for rpc in RPCS if rpc.server == NODE]
    publish.append(f"$JS.API.DIRECT.GET.DESIRED.{_mine(DESIRED_DOCUMENT.address.template)}")
    return Permissions(tuple(publish), (*subscribe, f"{inbox_prefix(_NODE_NAME)}.>"), may_reply=True)


def sre_permissions(credential_id: str, *, project: str | None, may_order: bool) -> Permissions:
    """What a client of the bus that belongs to a person may do: hear alerts, and where it may give orders, give its own and hear the replies."""
    scope = {"project": project} if project is not None else {}
    subscribe = [channel.address.pattern(**scope) for channel in CHANNELS if SRE in channel.subscribers]
    if not may_order:
        return Permissions((), tuple(subscribe))
    mine = {"scope": project or EVERY_SCOPE, "credential_id": credential_id}
    publish = [rpc.address.subject(**mine) for rpc in RPCS if SRE in rpc.callers]
    return Permissions(tuple(publish), (*subscribe, f"{inbox_prefix(credential_id)}.>"))


def _consumer_subjects(service: str) -> list[str]:
    """Pull from the service's own durable consumers, and settle what came."""
    return [
        subject
        for consumer in CONSUMERS
        if consumer.owner == service
        for subject in (
            f"$JS.API.CONSUMER.MSG.NEXT.{consumer.stream}.{consumer.durable}",
            f"$JS.ACK.{consumer.stream}.{consumer.durable}.>",
        )
    ]


def _topology_subjects() -> list[str]:
    """Only the registry makes streams and consumers, and reads messages back for the relay and the dead letters.  Nobody may delete or
    purge."""
    per_stream = [
        f"$JS.API.STREAM.{verb}.{stream.name}"
        for stream in STREAMS
        for verb in ("CREATE", "UPDATE", "INFO", "MSG.GET")
    ]
    per_consumer = [
        f"$JS.API.CONSUMER.{verb}.{consumer.stream}.{consumer.durable}"
        for consumer in CONSUMERS
        for verb in ("CREATE", "INFO")
    ]
    by_subject = [f"$JS.API.DIRECT.GET.{stream.name}.>" for stream in STREAMS if stream.allow_direct]
    return [*per_stream, *per_consumer, *by_subject]


def _reading_subjects(service: str) -> list[str]:
    """Read what a stream keeps that has one message per subject, where all of it is for the service."""
    return [
        f"$JS.API.DIRECT.GET.{channel.stream.name}"
        for channel in CHANNELS
        if service in channel.subscribers
        and channel.stream is not None
        and channel.stream.max_msgs_per_subject == 1
    ]


def _lease_subjects() -> list[str]:
    """Take, renew and give up leases: all by writing; a lease ends by itself, so nobody purges."""
    return [
        f"{LEASE_BUCKET.prefix}*",
        f"$JS.API.DIRECT.GET.{LEASES.name}.{LEASE_BUCKET.prefix}*",
    ]


def service_permissions(service: str) -> Permissions:
    """The allow-list of one service."""
    publish = [channel.address.pattern() for channel in CHANNELS if service in channel.publishers]
    publish += [rpc.address.pattern() for rpc in RPCS if service in rpc.callers]
    publish += [*_consumer_subjects(service), *_reading_subjects(service), *_lease_subjects()]
    subscribe = [channel.address.pattern() for channel in CHANNELS if service in channel.subscribers]
    served = [rpc.address.pattern() for rpc in RPCS if rpc.server == service]
    discovery = ["$SRV.>"] if served else []  # `nats micro ls` and its like
    subscribe += [*served, *discovery, f"{inbox_prefix(service)}.>"]
    if service == "registry":
        publish += _topology_subjects()
    unique_publish, unique_subscribe = tuple(dict.fromkeys(publish)), tuple(dict.fromkeys(subscribe))
    return Permissions(unique_publish, unique_subscribe, may_reply=bool(served))
