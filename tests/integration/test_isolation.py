"""Who may do what, tried on the real server with real credentials: a node reaches nothing of another node, a service does exactly what the
catalogue says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from lattice.bus import NatsBus
from lattice.bus_client import reached
from lattice.contracts import messages as m
from lattice.contracts import nouns
from lattice.contracts.catalogue import (
    CHANNELS,
    DEPLOY,
    DESIRED_DOCUMENT,
    EXEC,
    HEARTBEAT,
    LOG_BLOCK,
    NODE_EVENT,
    RESYNC,
    RPCS,
    SERVICES,
    SESSION_IN,
    SESSION_OUT,
    STATUS,
)
from lattice.contracts.permissions import inbox_prefix, node_permissions, service_permissions
from lattice.contracts.streams import CONSUMERS, LOGS_BY_LOGS, STREAMS
from lattice.errors import DeadlineExceeded, Temporary
from lattice.messaging import Outgoing, Received
from lattice.settings import BusSettings
from tests.fixtures.nats import BusIdentity, NatsServer

WAIT_S = 20.0
AT = datetime(2030, 1, 1, tzinfo=UTC)
MINE, OTHERS = "nd-mine", "nd-others"

# ------------------------------------------------------------------------------------------------ tools


@dataclass
class Peer:
    """A bare client that notes all it hears and all that is refused."""

    client: Client
    heard: list[Msg] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)

    async def settle(self) -> None:
        """Until the server has seen all that was sent, and all that it sent before its answer is noted here."""
        await reached(self.client)
        for subscription in self.subscriptions:
            await subscription._pending_queue.join()

    async def listen(self, subject: str, queue: str = "") -> None:
        async def note(msg: Msg) -> None:
            self.heard.append(msg)

        self.subscriptions.append(await self.client.subscribe(subject, queue=queue, cb=note))

    async def send(self, subject: str, payload: bytes = b"{}", reply: str = "") -> None:
        await self.client.publish(subject, payload, reply=reply)

    @property
    def subjects(self) -> set[str]:
        return {msg.subject for msg in self.heard}


@asynccontextmanager
async def peer(server: NatsServer, who: BusIdentity) -> AsyncIterator[Peer]:
    client = Client()
    made = Peer(client)

    async def note(error: Exception) -> None:
        made.refused.append(str(error))

    await client.connect(
        server.url,
        user_credentials=RawCredentials(who.credentials),
        tls=who.tls,
        tls_handshake_first=True,
        allow_reconnect=False,
        inbox_prefix=who.inbox_prefix,
        error_cb=note,
        # The attacks below are not all well-formed; the server shall judge them, not the client.
        skip_subject_validation=True,
    )
    try:
        yield made
    finally:
        await client.close()


def settings(server: NatsServer, who: BusIdentity) -> BusSettings:
    return BusSettings(
        urls=[server.url],
        ca_file=who.ca_file,
        cert_file=who.certificate_file,
        key_file=who.key_file,
        creds_file=who.credentials_file,
        server_name="localhost",
    )


def service(server: NatsServer, name: str) -> BusIdentity:
    """A service with the credential that it has in production."""
    return server.service(name, service_permissions(name))


async def until(wanted: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not wanted():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def on_the_bus(server: NatsServer, who: BusIdentity) -> AsyncIterator[NatsBus]:
    async with NatsBus(settings(server, who), identity=who.name) as bus:
        await until(lambda: bus.connected)
        yield bus


@pytest.fixture
async def registry(own_nats_server: NatsServer) -> AsyncIterator[NatsBus]:
    """The registry, with its own credential, and everything that it sets up."""
    async with on_the_bus(own_nats_server, service(own_nats_server, "registry")) as bus:
        await bus.ensure_topology(STREAMS, CONSUMERS)
        yield bus


def document(node_id: str) -> m.DesiredDocument:
    return m.DesiredDocument(cluster_id="c", node_id=node_id, era=1, generation=1)


# ------------------------------------------------------------------------------------------------ a node and another node's things

FORBIDDEN_TO_HEAR = (
    f"lattice.node.{OTHERS}.deploy",
    f"lattice.node.{OTHERS}.status",
    f"lattice.node.{OTHERS}.heartbeat",
    f"lattice.node.{OTHERS}.event.oom",
    f"lattice.node.{OTHERS}.event.*",
    f"lattice.node.{OTHERS}.cmd.exec",
    f"lattice.node.{OTHERS}.cmd.>",
    f"lattice.node.{OTHERS}.session.s1.in",
    f"lattice.node.{OTHERS}.session.*.out",
    f"lattice.node.{OTHERS}.>",
    f"lattice.desired.node.{OTHERS}",
    f"lattice.desired.node.{MINE}",
    f"lattice.logs.{OTHERS}.wl-1",
    f"{inbox_prefix(OTHERS)}.>",
    f"{inbox_prefix('registry')}.>",
    "_INBOX.>",
    "lattice.node.*.deploy",
    "lattice.node.*.cmd.exec",
    "lattice.*.*.deploy",
    "*.*.*.deploy",
    "lattice.node.>",
    "lattice.desired.>",
    "lattice.logs.>",
    "lattice.evt.>",
    "lattice.svc.>",
    "lattice.svc.registry.get_credentials",
    "lattice.sched.*",
    "lattice.dlq.>",
    "lattice.>",
    "*.>",
    ">",
    "$JS.>",
    "$JS.API.>",
    "$JS.EVENT.>",
    "$JS.ACK.>",
    "$KV.>",
    "$SYS.>",
    "$SYS.ACCOUNT.>",
    "$SRV.>",
    "$SRV.PING",
)
FORBIDDEN_TO_SEND = (
    f"lattice.node.{OTHERS}.deploy",
    f"lattice.node.{MINE}.deploy",
    f"lattice.node.{OTHERS}.status",
    f"lattice.node.{OTHERS}.heartbeat",
    f"lattice.node.{OTHERS}.event.oom",
    f"lattice.node.{OTHERS}.cmd.exec",
    f"lattice.node.{OTHERS}.cmd.resync",
    f"lattice.node.{MINE}.cmd.exec",
    f"lattice.node.{OTHERS}.session.s1.in",
    f"lattice.node.{OTHERS}.session.s1.out",
    f"lattice.node.{MINE}.session.s1.in",
    f"lattice.desired.node.{OTHERS}",
    f"lattice.desired.node.{MINE}",
    f"lattice.logs.{OTHERS}.wl-1",
    f"{inbox_prefix(OTHERS)}.x",
    f"{inbox_prefix('registry')}.x",
    "lattice.evt.shop.workload.created",
    "lattice.sched.wl-1",
    "lattice.dlq.EVENTS.x",
    "lattice.wake.registry",
    "lattice.svc.registry.get_node",
    "lattice.svc.registry.approve_node",
    "lattice.svc.registry.get_credentials",
    "lattice.svc.scheduler.x",
    "lattice.svc.logs.query",
    "$KV.LEASES.scheduler",
    "$SRV.PING",
)
# Each is a request that would read, make or destroy something if the server let it through.
FORBIDDEN_TO_ASK: tuple[tuple[str, dict[str, Any]], ...] = (
    ("$JS.API.INFO", {}),
    ("$JS.API.STREAM.NAMES", {}),
    ("$JS.API.STREAM.LIST", {}),
    ("$JS.API.STREAM.INFO.DESIRED", {}),
    ("$JS.API.STREAM.CREATE.MINE", {"name": "MINE", "subjects": ["lattice.node.*.deploy"]}),
    ("$JS.API.STREAM.UPDATE.DESIRED", {"name": "DESIRED", "subjects": ["lattice.desired.node.*"]}),
    ("$JS.API.STREAM.DELETE.DESIRED", {}),
    ("$JS.API.STREAM.PURGE.DESIRED", {"filter": f"lattice.desired.node.{OTHERS}"}),
    ("$JS.API.STREAM.MSG.GET.DESIRED", {"last_by_subj": f"lattice.desired.node.{OTHERS}"}),
    ("$JS.API.STREAM.MSG.GET.DESIRED", {"seq": 1}),
    ("$JS.API.STREAM.MSG.DELETE.DESIRED", {"seq": 1}),
    ("$JS.API.STREAM.SNAPSHOT.DESIRED", {"deliver_subject": f"{inbox_prefix(MINE)}.snap"}),
    ("$JS.API.DIRECT.GET.DESIRED", {"last_by_subj": f"lattice.desired.node.{OTHERS}"}),
    ("$JS.API.DIRECT.GET.DESIRED", {"seq": 1}),
    ("$JS.API.DIRECT.GET.DESIRED", {"multi_last": ["lattice.desired.node.*"], "batch": 10}),
    (f"$JS.API.DIRECT.GET.DESIRED.lattice.desired.node.{OTHERS}", {}),
    ("$JS.API.DIRECT.GET.DESIRED.lattice.desired.node.*", {}),
    ("$JS.API.DIRECT.GET.DESIRED.lattice.desired.>", {}),
    (f"$JS.API.DIRECT.GET.OBSERVED.lattice.p.1.node.{OTHERS}.status", {}),
    ("$JS.API.DIRECT.GET.KV_LEASES.$KV.LEASES.scheduler", {}),
    ("$JS.API.CONSUMER.CREATE.DESIRED", {"stream_name": "DESIRED", "config": {"ack_policy": "none"}}),
    (
        "$JS.API.CONSUMER.CREATE.DESIRED.spy",
        {
            "stream_name": "DESIRED",
            "config": {"name": "spy", "deliver_subject": f"{inbox_prefix(MINE)}.spy", "ack_policy": "none"},
        },
    ),
    (
        f"$JS.API.CONSUMER.CREATE.DESIRED.spy.lattice.desired.node.{OTHERS}",
        {
            "stream_name": "DESIRED",
            "config": {
                "name": "spy",
                "filter_subject": f"lattice.desired.node.{OTHERS}",
                "ack_policy": "none",
            },
        },
    ),
    (
        "$JS.API.CONSUMER.DURABLE.CREATE.DESIRED.spy",
        {"stream_name": "DESIRED", "config": {"durable_name": "spy", "ack_policy": "explicit"}},
    ),
    ("$JS.API.CONSUMER.MSG.NEXT.OBSERVED.registry-observed", {"batch": 10}),
    ("$JS.API.CONSUMER.MSG.NEXT.LOGS.logs-ingest", {"batch": 10}),
    ("$JS.API.CONSUMER.INFO.LOGS.logs-ingest", {}),
    ("$JS.API.CONSUMER.NAMES.DESIRED", {}),
    ("$JS.API.CONSUMER.DELETE.LOGS.logs-ingest", {}),
    ("$JS.API.CONSUMER.PAUSE.LOGS.logs-ingest", {"pause_until": "2100-01-01T00:00:00Z"}),
    ("$SYS.REQ.SERVER.PING", {}),
    ("$SYS.REQ.USER.INFO", {}),
    ("$SYS.REQ.ACCOUNT.PING.CONNZ", {}),
    ("$SYS.REQ.CLAIMS.UPDATE", {}),
)


def test_enough_is_tried() -> None:
    assert len({*FORBIDDEN_TO_HEAR}) >= 40
    assert len(FORBIDDEN_TO_SEND) + len(FORBIDDEN_TO_ASK) >= 40


async def everything_said(registry: NatsBus, everybody: Peer) -> None:
    """One message on each subject that somebody was forbidden to hear, said by somebody who may say all."""
    await registry.append_newest(
        DESIRED_DOCUMENT, document(OTHERS), order=lambda it: it.order, node_id=OTHERS
    )
    for pattern in FORBIDDEN_TO_HEAR:
        await everybody.send(pattern.replace("*", "x1").replace(">", "y1"))
    await everybody.settle()


@pytest.mark.parametrize("queue", ["", "registry"])
async def test_a_node_hears_nothing_of_others(
    own_nats_server: NatsServer, registry: NatsBus, queue: str
) -> None:
    async with (
        peer(own_nats_server, own_nats_server.node(MINE)) as thief,
        peer(own_nats_server, own_nats_server.service("all")) as everybody,
    ):
        for pattern in FORBIDDEN_TO_HEAR:
            await thief.listen(pattern, queue)
        await thief.settle()
        await everything_said(registry, everybody)
        await thief.settle()
        assert thief.heard == []
        assert len(thief.refused) == len(FORBIDDEN_TO_HEAR)
        assert thief.client.is_connected


async def test_a_node_speaks_for_nobody_else(own_nats_server: NatsServer, registry: NatsBus) -> None:
    async with (
        peer(own_nats_server, own_nats_server.node(MINE)) as thief,
        peer(own_nats_server, own_nats_server.service("all")) as everybody,
    ):
        await everybody.listen(">")
        await everybody.settle()
        for subject in FORBIDDEN_TO_SEND:
            await thief.send(subject, b"stolen", reply=f"{inbox_prefix(MINE)}.r")
        await thief.settle()
        await everybody.settle()
        assert [msg.subject for msg in everybody.heard if b"stolen" in msg.data] == []
        assert len(thief.refused) == len(FORBIDDEN_TO_SEND)


async def stores(everybody: Peer) -> dict[str, Any]:
    """What JetStream holds: streams, their settings, messages and consumers."""
    reply = await everybody.client.request("$JS.API.STREAM.LIST", b"{}", timeout=5)
    streams = json.loads(reply.data)["streams"]
    return {
        stream["config"]["name"]: (
            stream["config"],
            stream["state"]["messages"],
            stream["state"]["consumer_count"],
        )
        for stream in streams
    }


async def test_a_node_asks_jetstream_for_nothing(own_nats_server: NatsServer, registry: NatsBus) -> None:
    await registry.append_newest(
        DESIRED_DOCUMENT, document(OTHERS), order=lambda it: it.order, node_id=OTHERS
    )
    async with (
        peer(own_nats_server, own_nats_server.node(MINE)) as thief,
        peer(own_nats_server, own_nats_server.service("all")) as everybody,
    ):
        before = await stores(everybody)
        await thief.listen(f"{inbox_prefix(MINE)}.>")
        for subject, body in FORBIDDEN_TO_ASK:
            await thief.send(subject, json.dumps(body).encode(), reply=f"{inbox_prefix(MINE)}.r")
        await thief.settle()
        assert await stores(everybody) == before
        await thief.settle()
        assert thief.heard == []
        assert len(thief.refused) == len(FORBIDDEN_TO_ASK)


async def test_a_reply_goes_to_whoever_asked_and_only_once(own_nats_server: NatsServer) -> None:
    async with (
        peer(own_nats_server, own_nats_server.node(MINE)) as node,
        peer(own_nats_server, own_nats_server.service("all")) as everybody,
    ):
        await node.listen(f"lattice.node.{MINE}.cmd.resync")
        await everybody.listen("answers.>")
        await node.settle()
        await everybody.send(f"lattice.node.{MINE}.cmd.resync", reply="answers.here")
        await until(lambda: node.heard)
        for subject in ("answers.here", "answers.here", "answers.elsewhere"):
            await node.send(subject)
        await node.settle()
        await everybody.settle()
        assert [msg.subject for msg in everybody.heard] == ["answers.here"]


# ------------------------------------------------------------------------------------------------ a node's own things


async def test_a_node_does_its_own_work(own_nats_server: NatsServer, registry: NatsBus) -> None:
    heard: list[Received[Any]] = []

    async def note(received: Received[Any]) -> None:
        heard.append(received)

    status = m.ObservedDocument(
        node_id=MINE, boot_id="b", session=1, counter=1, era=1, generation=1, complete=True
    )
    await registry.subscribe(HEARTBEAT, note)
    async with on_the_bus(own_nats_server, own_nats_server.node(MINE)) as node:
        await node.publish(
            HEARTBEAT, m.Heartbeat(node_id=MINE, boot_id="b", session=1, agent_version="1"), node_id=MINE
        )
        await node.append(STATUS, status, msg_id="s-1", node_id=MINE)
        await node.append(
            NODE_EVENT, m.NodeEvent(node_id=MINE, type="oom", at=AT), msg_id="e-1", node_id=MINE, type="oom"
        )
        await until(lambda: heard)
    newest = await registry.last(STATUS, node_id=MINE)
    assert newest is not None
    assert newest.message == status


async def test_a_node_gets_its_own_orders(own_nats_server: NatsServer, registry: NatsBus) -> None:
    orders: list[Received[m.DesiredDocument]] = []

    async def note(received: Received[m.DesiredDocument]) -> None:
        orders.append(received)

    async with on_the_bus(own_nats_server, own_nats_server.node(MINE)) as node:
        assert await node.last(DESIRED_DOCUMENT, node_id=MINE) is None
        await node.subscribe(DEPLOY, note, node_id=MINE)
        await registry.append_newest(
            DESIRED_DOCUMENT, document(MINE), order=lambda it: it.order, node_id=MINE
        )
        await until(lambda: orders)
        newest = await node.last(DESIRED_DOCUMENT, node_id=MINE)
        assert newest is not None
        assert newest.message == orders[0].message == document(MINE)
        with pytest.raises((DeadlineExceeded, Temporary)):
            await asyncio.wait_for(node.last(DESIRED_DOCUMENT, node_id=OTHERS), 7)


async def test_a_node_serves_sessions_and_ships_logs(own_nats_server: NatsServer, registry: NatsBus) -> None:
    typed, printed, blocks = asyncio.Event(), asyncio.Event(), []
    key = nouns.ContainerKey(cluster_id="c1234567", workload_id="wl-1", slot=0, epoch=1)
    tokens = {"node_id": MINE, "session_id": "s1"}

    async def start(request: m.ExecRequest) -> m.ExecStarted:
        return m.ExecStarted(session_id=request.session_id)

    async def resync(_: m.Resync) -> m.Done:
        return m.Done()

    async def on_typed(received: Received[m.SessionFrame]) -> None:
        typed.set()

    async def on_printed(received: Received[m.SessionFrame]) -> None:
        printed.set()

    async def on_block(received: Received[m.LogBlock]) -> None:
        blocks.append(received.body)

    async with (
        on_the_bus(own_nats_server, own_nats_server.node(MINE)) as node,
        on_the_bus(own_nats_server, service(own_nats_server, "gateway")) as gateway,
        on_the_bus(own_nats_server, service(own_nats_server, "logs")) as logs,
    ):
        await node.serve(EXEC, start, node_id=MINE)
        await node.serve(RESYNC, resync, node_id=MINE)
        await node.subscribe(SESSION_IN, on_typed, **tokens)
        await gateway.subscribe(SESSION_OUT, on_printed, **tokens)
        await logs.consume(LOGS_BY_LOGS, LOG_BLOCK, on_block)
        request = m.ExecRequest(session_id="s1", key=key, argv=("ls",))
        assert (await gateway.ask(EXEC, request, node_id=MINE)).session_id == "s1"
        assert await registry.ask(RESYNC, m.Resync(), node_id=MINE) == m.Done()
        frame = m.SessionFrame(session_id="s1", kind=m.SessionFrameKind.STDIN, number=1)
        await gateway.publish(SESSION_IN, frame, body=b"x", **tokens)
        await asyncio.wait_for(typed.wait(), WAIT_S)
        await node.publish(SESSION_OUT, frame, body=b"y", **tokens)
        await asyncio.wait_for(printed.wait(), WAIT_S)
        log_tokens = {"node_id": MINE, "workload_id": "wl-1"}
        block = m.LogBlock(
            node_id=MINE, workload_id="wl-1", instance_id="in-1", project="shop", slot=0, epoch=1, source="c",
            first=1, last=1, first_at_ns=1, last_at_ns=1,
        )  # fmt: skip
        await node.append_all(
            [Outgoing(LOG_BLOCK, block, f"l-{number}", log_tokens, b"zstd") for number in range(3)]
        )
        await until(lambda: len(blocks) == 3)


# ------------------------------------------------------------------------------------------------ services

_PLACES = (
    "node_id",
    "workload_id",
    "route_id",
    "link_id",
    "service",
    "session_id",
    "type",
    "project",
    "entity",
    "verb",
    "stream",
    "consumer",
    "kind",
    "severity",
    "source",
    "name",
    "scope",
    "credential_id",
)
CONCRETE = dict.fromkeys(_PLACES, "x1")


def subjects_of(service_name: str) -> tuple[set[str], set[str]]:
    """What the catalogue lets a service say, and hear."""
    says = {it.address.subject(**CONCRETE) for it in CHANNELS if service_name in it.publishers}
    says |= {it.address.subject(**CONCRETE) for it in RPCS if service_name in it.callers}
    hears = {it.address.subject(**CONCRETE) for it in CHANNELS if service_name in it.subscribers}
    hears |= {it.address.subject(**CONCRETE) for it in RPCS if it.server == service_name}
    return says, hears


ALL_SUBJECTS = sorted(
    {it.address.subject(**CONCRETE) for it in CHANNELS} | {it.address.subject(**CONCRETE) for it in RPCS}
)


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_says_exactly_what_the_catalogue_says(own_nats_server: NatsServer, name: str) -> None:
    async with (
        peer(own_nats_server, service(own_nats_server, name)) as tried,
        peer(own_nats_server, own_nats_server.service("all")) as everybody,
    ):
        await everybody.listen(">")
        await everybody.settle()
        for subject in ALL_SUBJECTS:
            await tried.send(subject)
        await tried.settle()
        await everybody.settle()
        assert everybody.subjects & set(ALL_SUBJECTS) == subjects_of(name)[0]


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_hears_exactly_what_the_catalogue_says(
    own_nats_server: NatsServer, name: str
) -> None:
    async with (
        peer(own_nats_server, service(own_nats_server, name)) as tried,
        peer(own_nats_server, own_nats_server.service("all")) as everybody,
    ):
        for subject in ALL_SUBJECTS:
            await tried.listen(subject)
        await tried.settle()
        for subject in ALL_SUBJECTS:
            await everybody.send(subject)
        await everybody.settle()
        await tried.settle()
        assert tried.subjects == subjects_of(name)[1]


def test_only_the_gateway_may_start_a_command() -> None:
    exec_pattern = EXEC.address.pattern()
    assert [name for name in SERVICES if exec_pattern in service_permissions(name).publish] == ["gateway"]


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "registry"])
async def test_no_service_but_the_registry_touches_streams(own_nats_server: NatsServer, name: str) -> None:
    allowed = set(service_permissions(name).publish)
    asked = [(subject, body) for subject, body in FORBIDDEN_TO_ASK if subject not in allowed]
    # Everybody may look who leads.
    asked = [(subject, body) for subject, body in asked if "KV_LEASES" not in subject]
    async with (
        peer(own_nats_server, service(own_nats_server, name)) as tried,
        peer(own_nats_server, own_nats_server.service("all")) as everybody,
    ):
        await tried.listen(f"{inbox_prefix(name)}.>")
        before = await stores(everybody)
        for subject, body in asked:
            await tried.send(subject, json.dumps(body).encode(), reply=f"{inbox_prefix(name)}.r")
        await tried.settle()
        assert await stores(everybody) == before
        assert tried.heard == []


async def test_the_registry_deletes_and_purges_nothing(
    own_nats_server: NatsServer, registry: NatsBus
) -> None:
    async with (
        peer(own_nats_server, service(own_nats_server, "registry")) as tried,
        peer(own_nats_server, own_nats_server.service("all")) as everybody,
    ):
        before = await stores(everybody)
        for verb in ("STREAM.DELETE.DESIRED", "STREAM.PURGE.DESIRED", "CONSUMER.DELETE.LOGS.logs-ingest"):
            await tried.send(f"$JS.API.{verb}", reply=f"{inbox_prefix('registry')}.r")
        await tried.settle()
        assert await stores(everybody) == before
        assert len(tried.refused) == 3


def test_a_node_has_no_right_with_a_wildcard_over_nodes() -> None:
    permissions = node_permissions()
    for subject in (*permissions.publish, *permissions.subscribe):
        assert "{{name()}}" in subject, subject
