"""What every bus promises, tried on the one in memory and on NATS."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from lattice.bus import NatsBus
from lattice.contracts import messages as m
from lattice.contracts.catalogue import (
    DEPLOY,
    DESIRED_DOCUMENT,
    FACT,
    GET_NODE,
    GIVEN_UP,
    HEARTBEAT,
    LOG_BLOCK,
    ORDER_ACKNOWLEDGE,
    PLACEMENT_WANTED,
    RESYNC,
    STATUS,
    Channel,
)
from lattice.contracts.streams import (
    CONSUMERS,
    DESIRED,
    EVENTS,
    LOGS,
    SCHED,
    STREAMS,
    Consumer,
    Stream,
)
from lattice.contracts.subjects import BadToken
from lattice.errors import Conflict, DeadlineExceeded, Invalid, LatticeError, NotFound, Temporary
from lattice.messaging import Bus, Outgoing, Received
from lattice.process_log import current_context, log_context
from lattice.settings import BusSettings
from lattice.testing import ManualClock, MemoryBroker, MemoryBus
from tests.fixtures.nats import NatsServer

WAIT_S = 15.0
AT = datetime(2030, 1, 1, tzinfo=UTC)
_numbers = itertools.count(1)

BACKOFF_S = (0.2, 0.4)


@dataclass
class World:
    """Where buses meet: in memory or at a server."""

    make: Callable[[str], Awaitable[Bus]]
    pass_time: Callable[[float], Awaitable[None]]


@asynccontextmanager
async def memory_world() -> AsyncIterator[World]:
    clock = ManualClock()
    broker = MemoryBroker(clock)

    async def make(identity: str) -> Bus:
        return MemoryBus(broker, identity=identity)

    async def pass_time(seconds: float) -> None:
        clock.advance(seconds)

    yield World(make, pass_time)


@asynccontextmanager
async def nats_world(server: NatsServer) -> AsyncIterator[World]:
    buses: list[NatsBus] = []

    async def make(identity: str) -> Bus:
        bus = NatsBus(bus_settings(server, identity), identity=identity)
        buses.append(await bus.__aenter__())
        await until(lambda: bus.connected)
        return bus

    try:
        yield World(make, asyncio.sleep)
    finally:
        for bus in buses:
            await bus.__aexit__(None, None, None)


def bus_settings(server: NatsServer, identity: str) -> BusSettings:
    who = server.service(identity)
    return BusSettings(
        urls=[server.url],
        ca_file=who.ca_file,
        cert_file=who.certificate_file,
        key_file=who.key_file,
        creds_file=who.credentials_file,
        server_name="localhost",
    )


@pytest.fixture(params=["memory", "nats"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        async with memory_world() as made:
            yield made
    else:
        async with nats_world(request.getfixturevalue("nats_server")) as made:
            yield made


@pytest.fixture
async def bus(world: World) -> Bus:
    made = await world.make("registry")
    await made.ensure_topology(STREAMS, CONSUMERS)
    return made


async def until(wanted: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not wanted():
            await asyncio.sleep(0.01)


def fresh(prefix: str) -> str:
    """An id of this test's own: the server is shared."""
    return f"{prefix}-{next(_numbers)}"


class Inbox:
    """Collects what a handler gets."""

    def __init__(self) -> None:
        self.got: list[Received[Any]] = []

    async def __call__(self, received: Received[Any]) -> None:
        self.got.append(received)

    async def wait(self, count: int) -> list[Received[Any]]:
        await until(lambda: len(self.got) >= count)
        return self.got


def heartbeat(node_id: str, session: int = 1) -> m.Heartbeat:
    return m.Heartbeat(node_id=node_id, boot_id="b", session=session, agent_version="1")


def document(node_id: str, generation: int, era: int = 1) -> m.DesiredDocument:
    return m.DesiredDocument(cluster_id="c", node_id=node_id, era=era, generation=generation)


def fact(seq: int, verb: str = "created") -> m.Fact:
    return m.Fact(
        seq=seq,
        id=f"fa-{seq}",
        project="shop",
        entity="workload",
        verb=verb,
        entity_id="wl-1",
        actor="us-1",
        at=AT,
    )


# ------------------------------------------------------------------------------------------------ publish, subscribe


async def test_a_message_arrives_as_it_was_sent(bus: Bus) -> None:
    inbox, node = Inbox(), fresh("nd")
    await bus.subscribe(HEARTBEAT, inbox, node_id=node)
    await bus.publish(HEARTBEAT, heartbeat(node), node_id=node)
    [received] = await inbox.wait(1)
    assert received.message == heartbeat(node)
    assert (received.subject, received.tokens) == (f"lattice.node.{node}.heartbeat", {"node_id": node})


async def test_every_message_is_a_cloud_event(bus: Bus) -> None:
    inbox, node = Inbox(), fresh("nd")
    await bus.subscribe(HEARTBEAT, inbox, node_id=node)
    await bus.publish(HEARTBEAT, heartbeat(node), node_id=node)
    headers = (await inbox.wait(1))[0].headers
    assert headers["ce-type"] == "lattice.heartbeat"
    assert headers["ce-source"] == "/lattice/registry"
    assert headers["ce-specversion"] == "1.0"
    assert headers["ce-datacontenttype"] == "application/json"
    assert headers["ce-id"] == headers["Nats-Msg-Id"]
    assert datetime.fromisoformat(headers["ce-time"]).tzinfo is not None


async def test_a_binary_message_carries_bytes_and_their_description(bus: Bus) -> None:
    inbox, node = Inbox(), fresh("nd")
    block = m.LogBlock(
        node_id=node, workload_id="wl-1", instance_id="in-1", project="shop", slot=0, epoch=1,
        source="Zürich", first=1, last=2, first_at_ns=1, last_at_ns=2,
    )  # fmt: skip
    await bus.subscribe(LOG_BLOCK, inbox, node_id=node, workload_id="wl-1")
    await bus.publish(LOG_BLOCK, block, body=b"\x00\xff\r\n", node_id=node, workload_id="wl-1")
    [received] = await inbox.wait(1)
    assert (received.message, received.body) == (block, b"\x00\xff\r\n")
    assert received.headers["ce-datacontenttype"] == "application/octet-stream"


async def test_places_not_given_hear_everything(bus: Bus) -> None:
    inbox, one, other = Inbox(), fresh("nd"), fresh("nd")
    await bus.subscribe(HEARTBEAT, inbox)
    for node in (one, other):
        await bus.publish(HEARTBEAT, heartbeat(node), node_id=node)
    await until(lambda: {one, other} <= {received.tokens["node_id"] for received in inbox.got})


async def test_messages_of_one_sender_stay_in_order(bus: Bus) -> None:
    inbox, node = Inbox(), fresh("nd")
    await bus.subscribe(HEARTBEAT, inbox, node_id=node)
    for number in range(200):
        await bus.publish(HEARTBEAT, heartbeat(node, number), node_id=node)
    assert [received.message.session for received in await inbox.wait(200)] == list(range(200))


async def test_one_member_of_a_queue_group_gets_each_message(world: World, bus: Bus) -> None:
    node, inboxes, watcher = fresh("nd"), [Inbox(), Inbox(), Inbox()], Inbox()
    for inbox in inboxes:
        member = await world.make("registry")
        await member.subscribe(HEARTBEAT, inbox, queue="judges", node_id=node)
    await bus.subscribe(HEARTBEAT, watcher, node_id=node)
    for number in range(60):
        await bus.publish(HEARTBEAT, heartbeat(node, number), node_id=node)
    await watcher.wait(60)
    await until(lambda: sum(len(inbox.got) for inbox in inboxes) == 60)
    sessions = sorted(received.message.session for inbox in inboxes for received in inbox.got)
    assert sessions == list(range(60))


async def test_a_failing_handler_does_not_end_its_subscription(bus: Bus) -> None:
    node, got = fresh("nd"), []

    async def handler(received: Received[m.Heartbeat]) -> None:
        got.append(received.message.session)
        if received.message.session == 1:
            raise RuntimeError("broke")

    await bus.subscribe(HEARTBEAT, handler, node_id=node)
    for number in (1, 2):
        await bus.publish(HEARTBEAT, heartbeat(node, number), node_id=node)
    await until(lambda: got == [1, 2])


async def test_a_stopped_subscription_hears_nothing(bus: Bus) -> None:
    stopped, watcher, node = Inbox(), Inbox(), fresh("nd")
    subscription = await bus.subscribe(HEARTBEAT, stopped, node_id=node)
    await bus.subscribe(HEARTBEAT, watcher, node_id=node)
    await subscription.stop()
    await bus.publish(HEARTBEAT, heartbeat(node), node_id=node)
    await watcher.wait(1)
    assert stopped.got == []


async def test_stopping_waits_for_the_handler_that_runs(bus: Bus) -> None:
    node, began, ended = fresh("nd"), asyncio.Event(), asyncio.Event()

    async def handler(_: Received[m.Heartbeat]) -> None:
        began.set()
        await asyncio.sleep(0.05)
        ended.set()

    subscription = await bus.subscribe(HEARTBEAT, handler, node_id=node)
    await bus.publish(HEARTBEAT, heartbeat(node), node_id=node)
    await asyncio.wait_for(began.wait(), WAIT_S)
    await subscription.stop()
    assert ended.is_set()


@pytest.mark.parametrize("token", ["*", ">", "a.b", "", "a b", "nd-1\r\nPUB x 0"])
async def test_a_token_cannot_widen_a_subject(bus: Bus, token: str) -> None:
    with pytest.raises(BadToken):
        await bus.publish(HEARTBEAT, heartbeat("nd-1"), node_id=token)
    with pytest.raises(BadToken):
        await bus.subscribe(HEARTBEAT, Inbox(), node_id=token)


async def test_the_logs_context_travels_along(bus: Bus) -> None:
    node, seen = fresh("nd"), []

    async def handler(_: Received[m.Heartbeat]) -> None:
        seen.append(dict(current_context()))

    await bus.subscribe(HEARTBEAT, handler, node_id=node)
    with log_context(request_id="r-1\r\nX: y", operation_id="op-1"):
        await bus.publish(HEARTBEAT, heartbeat(node), node_id=node)
    await until(lambda: seen)
    assert seen == [{"request_id": "r-1X: y", "operation_id": "op-1"}]


# ------------------------------------------------------------------------------------------------ append, last


async def test_a_repeated_id_adds_nothing(bus: Bus) -> None:
    workload = fresh("wl")
    wanted, msg_id = m.PlacementWanted(workload_id=workload), fresh("id")
    first = await bus.append(PLACEMENT_WANTED, wanted, msg_id=msg_id, workload_id=workload)
    second = await bus.append(PLACEMENT_WANTED, wanted, msg_id=msg_id, workload_id=workload)
    assert (first.stream, first.duplicate, second.duplicate) == ("SCHED", False, True)
    assert first.seq == second.seq


@pytest.mark.parametrize("msg_id", ["", "a\r\nb", "é", "x" * 201])
async def test_a_message_id_is_plain(bus: Bus, msg_id: str) -> None:
    with pytest.raises(ValueError, match="message id"):
        await bus.append(
            PLACEMENT_WANTED, m.PlacementWanted(workload_id="wl-1"), msg_id=msg_id, workload_id="wl-1"
        )


async def test_many_are_appended_in_order(bus: Bus) -> None:
    verb = fresh("v")
    tokens = {"project": "shop", "entity": "workload", "verb": verb}
    outgoing = [Outgoing(FACT, fact(seq, verb), f"{verb}:{seq}", tokens) for seq in range(700)]
    stored = await bus.append_all(outgoing)
    assert [each.seq for each in stored] == sorted({each.seq for each in stored})
    assert not any(each.duplicate for each in stored)
    newest = await bus.kept(EVENTS, stored[-1].seq)
    assert newest is not None
    assert m.Fact.model_validate_json(newest.payload) == fact(699, verb)
    again = await bus.append_all(outgoing[:10])
    assert [(each.seq, each.duplicate) for each in again] == [(each.seq, True) for each in stored[:10]]


@pytest.mark.parametrize("bad", ["a token", "the size"])
async def test_of_many_none_is_sent_when_one_cannot_be(bus: Bus, bad: str) -> None:
    """Who sends many must be able to tell this from a bus that is away: trying again would never help."""
    verb = fresh("v")
    tokens = {"project": "shop", "entity": "workload", "verb": verb}
    good = Outgoing(FACT, fact(1, verb), f"{verb}:1", tokens)
    large = fact(2, verb).model_copy(update={"data": {"text": "x" * 2**20}})
    broken = {
        "a token": Outgoing(FACT, fact(2, verb), f"{verb}:2", tokens | {"verb": "a.b"}),
        "the size": Outgoing(FACT, large, f"{verb}:2", tokens),
    }
    with pytest.raises((BadToken, Invalid)):
        await bus.append_all([good, broken[bad]])
    [stored] = await bus.append_all([good])
    assert not stored.duplicate


async def test_some_of_many_may_be_there_already(bus: Bus) -> None:
    verb = fresh("v")
    tokens = {"project": "shop", "entity": "workload", "verb": verb}
    outgoing = [Outgoing(FACT, fact(seq, verb), f"{verb}:{seq}", tokens) for seq in range(2500)]
    before = await bus.append_all(outgoing[1200:1210])
    stored = await bus.append_all(outgoing)
    assert [place for place, each in enumerate(stored) if each.duplicate] == list(range(1200, 1210))
    assert stored[1200:1210] == [replace(each, duplicate=True) for each in before]
    added = [each.seq for each in stored if not each.duplicate]
    assert added == sorted(set(added))
    assert len(added) == 2490


async def test_many_of_several_streams_and_with_bodies(bus: Bus) -> None:
    node, workload = fresh("nd"), fresh("wl")
    block = m.LogBlock(
        node_id=node, workload_id=workload, instance_id="in-1", project="shop", slot=0, epoch=1, source="c",
        first=1, last=2, first_at_ns=1, last_at_ns=2,
    )  # fmt: skip
    wanted = m.PlacementWanted(workload_id=workload)
    log_tokens, wanted_tokens = {"node_id": node, "workload_id": workload}, {"workload_id": workload}
    mixed: list[Outgoing[Any]] = [
        Outgoing(LOG_BLOCK, block, fresh("id"), log_tokens, b"\x00one"),
        Outgoing(LOG_BLOCK, block, fresh("id"), log_tokens, b"\x00two"),
        Outgoing(PLACEMENT_WANTED, wanted, fresh("id"), wanted_tokens),
        Outgoing(PLACEMENT_WANTED, wanted, fresh("id"), wanted_tokens),
    ]
    stored = await bus.append_all(mixed)
    assert [each.stream for each in stored] == ["LOGS", "LOGS", "SCHED", "SCHED"]
    kept = await bus.kept(LOGS, stored[1].seq)
    assert kept is not None
    assert kept.payload == b"\x00two"


async def test_appending_nothing_is_nothing(bus: Bus) -> None:
    assert await bus.append_all([]) == []


async def test_the_last_message_of_a_subject(bus: Bus) -> None:
    node = fresh("nd")
    assert await bus.last(DESIRED_DOCUMENT, node_id=node) is None
    for generation in (1, 2):
        await bus.append(DESIRED_DOCUMENT, document(node, generation), msg_id=fresh("id"), node_id=node)
    newest = await bus.last(DESIRED_DOCUMENT, node_id=node)
    assert newest is not None
    assert (newest.message, newest.tokens) == (document(node, 2), {"node_id": node})


async def test_the_newest_of_each_subject(bus: Bus) -> None:
    nodes = [fresh("nd") for _ in range(3)]
    for generation in (1, 2):
        for node in nodes:
            await bus.append(DESIRED_DOCUMENT, document(node, generation), msg_id=fresh("id"), node_id=node)
    found = [each for each in await bus.newest_of_each(DESIRED_DOCUMENT) if each.tokens["node_id"] in nodes]
    assert [each.message for each in found] == [document(node, 2) for node in nodes]


async def test_the_last_message_where_the_stream_partitions(bus: Bus) -> None:
    node = fresh("nd")
    status = m.ObservedDocument(
        node_id=node, boot_id="b", session=1, counter=1, era=1, generation=1, complete=True
    )
    await bus.append(STATUS, status, msg_id=fresh("id"), node_id=node)
    newest = await bus.last(STATUS, node_id=node)
    assert newest is not None
    assert (newest.message, newest.tokens) == (status, {"node_id": node})


async def test_a_kept_message_by_its_number(bus: Bus) -> None:
    node = fresh("nd")
    stored = await bus.append(DESIRED_DOCUMENT, document(node, 1), msg_id=fresh("id"), node_id=node)
    kept = await bus.kept(DESIRED, stored.seq)
    assert kept is not None
    assert kept.subject == f"lattice.desired.node.{node}"
    assert kept.headers["ce-type"] == "lattice.desired_document"
    assert await bus.kept(DESIRED, stored.seq + 1_000_000) is None


def order(message: m.DesiredDocument) -> tuple[int, int]:
    return message.order


async def test_only_a_newer_document_takes_the_place(bus: Bus) -> None:
    node = fresh("nd")

    async def put(generation: int, era: int = 1) -> bool:
        return await bus.append_newest(
            DESIRED_DOCUMENT, document(node, generation, era), order=order, node_id=node
        )

    assert [await put(2), await put(2), await put(1), await put(3)] == [True, False, False, True]
    assert [await put(1, era=2), await put(9)] == [True, False]
    newest = await bus.last(DESIRED_DOCUMENT, node_id=node)
    assert newest is not None
    assert newest.message.order == (2, 1)


async def test_of_many_writers_the_newest_wins(world: World, bus: Bus) -> None:
    node = fresh("nd")
    writers = [bus, await world.make("registry"), await world.make("registry")]
    puts = (
        writers[generation % 3].append_newest(
            DESIRED_DOCUMENT, document(node, generation), order=order, node_id=node
        )
        for generation in range(1, 10)
    )
    await asyncio.gather(*puts, return_exceptions=True)
    await bus.append_newest(DESIRED_DOCUMENT, document(node, 9), order=order, node_id=node)
    newest = await bus.last(DESIRED_DOCUMENT, node_id=node)
    assert newest is not None
    assert newest.message.generation == 9


async def test_a_desired_document_is_pushed_to_its_node(bus: Bus) -> None:
    node, inbox = fresh("nd"), Inbox()
    await bus.subscribe(DEPLOY, inbox, node_id=node)
    await bus.append_newest(DESIRED_DOCUMENT, document(node, 1), order=order, node_id=node)
    [received] = await inbox.wait(1)
    assert (received.message, received.subject) == (document(node, 1), f"lattice.node.{node}.deploy")
    assert received.stream_seq is not None


# ------------------------------------------------------------------------------------------------ requests


async def test_a_request_is_answered(bus: Bus) -> None:
    node, asked = fresh("nd"), []

    async def resync(request: m.Resync) -> m.Done:
        asked.append(request)
        return m.Done()

    await bus.serve(RESYNC, resync, node_id=node)
    assert await bus.ask(RESYNC, m.Resync(), node_id=node) == m.Done()
    assert asked == [m.Resync()]


async def test_where_the_subject_says_who_asks_the_handler_is_told(bus: Bus) -> None:
    asked = []

    async def acknowledge(request: m.AlertOrder, *, scope: str, credential_id: str) -> m.Alert:
        asked.append((request.alert, scope, credential_id))
        raise NotFound("There is no such alert.")

    server = await bus.serve(ORDER_ACKNOWLEDGE, acknowledge)
    for scope, credential_id in (("_all", "sr-1"), ("shop", "sr-2")):
        with pytest.raises(NotFound):
            order = m.AlertOrder(alert=f"al-{credential_id}")
            await bus.ask(ORDER_ACKNOWLEDGE, order, scope=scope, credential_id=credential_id)
    assert asked == [("al-sr-1", "_all", "sr-1"), ("al-sr-2", "shop", "sr-2")]
    await server.stop()


@pytest.mark.parametrize(
    "error",
    [
        NotFound("There is no node nd-1."),
        Conflict("It changed.", data={"etag": "3"}),
        Invalid("Wrong.", errors=[{"pointer": "/name", "detail": "too long: Zürich\r\n"}]),
        Temporary("Later.", data={"retry_after_s": 3}),
    ],
)
async def test_an_error_is_raised_on_the_other_side(bus: Bus, error: LatticeError) -> None:
    node = fresh("nd")

    async def resync(_: m.Resync) -> m.Done:
        raise error

    await bus.serve(RESYNC, resync, node_id=node)
    with pytest.raises(type(error)) as caught:
        await bus.ask(RESYNC, m.Resync(), node_id=node)
    assert type(caught.value) is type(error)
    assert (caught.value.detail, caught.value.errors, caught.value.data) == (
        error.detail,
        error.errors,
        error.data,
    )


async def test_an_unexpected_error_tells_nothing_of_itself(bus: Bus) -> None:
    node = fresh("nd")

    async def resync(_: m.Resync) -> m.Done:
        raise RuntimeError("password=hunter2")

    await bus.serve(RESYNC, resync, node_id=node)
    with pytest.raises(LatticeError) as caught:
        await bus.ask(RESYNC, m.Resync(), node_id=node)
    assert type(caught.value) is LatticeError
    assert "hunter2" not in str(caught.value)


async def test_nobody_serves(bus: Bus) -> None:
    with pytest.raises(Temporary, match=r"Nobody answers lattice\.node\..*\.cmd\.resync"):
        await bus.ask(RESYNC, m.Resync(), node_id=fresh("nd"))


async def test_no_answer_in_time(bus: Bus) -> None:
    node, release = fresh("nd"), asyncio.Event()

    async def resync(_: m.Resync) -> m.Done:
        await release.wait()
        return m.Done()

    await bus.serve(RESYNC, resync, node_id=node)
    with pytest.raises(DeadlineExceeded):
        await bus.ask(RESYNC, m.Resync(), timeout_s=0.1, node_id=node)
    release.set()


async def test_requests_are_answered_beside_each_other(bus: Bus) -> None:
    node, together, arrived = fresh("nd"), asyncio.Barrier(8), []

    async def resync(_: m.Resync) -> m.Done:
        arrived.append(1)
        await together.wait()
        return m.Done()

    await bus.serve(RESYNC, resync, concurrency=8, node_id=node)
    await asyncio.gather(*(bus.ask(RESYNC, m.Resync(), node_id=node) for _ in range(8)))
    assert len(arrived) == 8


async def test_concurrency_is_bounded(bus: Bus) -> None:
    node, running, most = fresh("nd"), 0, 0

    async def resync(_: m.Resync) -> m.Done:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        return m.Done()

    await bus.serve(RESYNC, resync, concurrency=2, node_id=node)
    await asyncio.gather(*(bus.ask(RESYNC, m.Resync(), node_id=node) for _ in range(12)))
    assert most == 2


async def test_replicas_share_the_requests(world: World, bus: Bus) -> None:
    answered = {"one": 0, "two": 0}

    def replica(name: str) -> Callable[[m.GetByName], Awaitable[Any]]:
        async def get_node(request: m.GetByName) -> Any:
            answered[name] += 1
            raise NotFound(request.ref)

        return get_node

    servers = [await (await world.make("registry")).serve(GET_NODE, replica(name)) for name in answered]
    for number in range(40):
        with pytest.raises(NotFound, match=f"^nd-{number}$"):
            await bus.ask(GET_NODE, m.GetByName(ref=f"nd-{number}"))
    assert sum(answered.values()) == 40
    assert min(answered.values()) > 0
    for server in servers:
        await server.stop()
    with pytest.raises(Temporary, match="Nobody answers"):
        await bus.ask(GET_NODE, m.GetByName(ref="nd-1"))


# ------------------------------------------------------------------------------------------------ consumers


async def work_queue(bus: Bus, **changes: Any) -> tuple[Consumer, Channel[m.PlacementWanted], str]:
    """A stream, channel and consumer of this test's own, like SCHED."""
    name = fresh("Q").replace("-", "_")
    stream = replace(SCHED, name=name, subjects=(f"lattice.test.{name}.*",), max_bytes=2**20)
    channel = replace(
        PLACEMENT_WANTED,
        address=replace(PLACEMENT_WANTED.address, template=f"lattice.test.{name}.{{workload_id}}"),
        stream=stream,
    )
    consumer = Consumer(
        **{
            "stream": name,
            "durable": "worker",
            "owner": "scheduler",
            "filter_subjects": stream.subjects,
            "backoff_s": BACKOFF_S,
            "max_deliver": 4,
            "max_ack_pending": 64,
            **changes,
        }
    )
    await bus.ensure_topology([stream], [consumer])
    return consumer, channel, name


async def want(bus: Bus, channel: Channel[m.PlacementWanted], workload_id: str) -> None:
    await bus.append(
        channel, m.PlacementWanted(workload_id=workload_id), msg_id=fresh("id"), workload_id=workload_id
    )


async def test_a_consumer_gets_what_came_before_and_after(bus: Bus) -> None:
    consumer, channel, _ = await work_queue(bus)
    await want(bus, channel, "wl-1")
    inbox = Inbox()
    await bus.consume(consumer, channel, inbox)
    await inbox.wait(1)
    await want(bus, channel, "wl-2")
    got = await inbox.wait(2)
    assert [received.tokens["workload_id"] for received in got] == ["wl-1", "wl-2"]
    assert [received.deliveries for received in got] == [1, 1]


async def test_temporary_is_delivered_again(bus: Bus) -> None:
    consumer, channel, _ = await work_queue(bus)
    deliveries: list[int] = []

    async def handler(received: Received[m.PlacementWanted]) -> None:
        deliveries.append(received.deliveries)
        if received.deliveries < 3:
            raise Temporary("not yet")

    await bus.consume(consumer, channel, handler)
    await want(bus, channel, "wl-1")
    await until(lambda: len(deliveries) >= 3)
    await want(bus, channel, "wl-2")
    await until(lambda: len(deliveries) >= 4 + 2)
    assert deliveries == [1, 2, 3, 1, 2, 3]


async def test_others_are_handled_while_one_waits(bus: Bus) -> None:
    consumer, channel, _ = await work_queue(bus, backoff_s=(5.0,))
    inbox = Inbox()

    async def handler(received: Received[m.PlacementWanted]) -> None:
        if received.message.workload_id == "wl-1":
            raise Temporary("later", data={"retry_after_s": 0.3})
        await inbox(received)

    await bus.consume(consumer, channel, handler)
    for workload in ("wl-1", "wl-2", "wl-3"):
        await want(bus, channel, workload)
    got = await inbox.wait(2)
    assert [received.message.workload_id for received in got] == ["wl-2", "wl-3"]


async def given_up(bus: Bus, stream: str) -> Inbox:
    """The advisories about one stream's consumers."""
    advisories = Inbox()
    consumer = Consumer(
        stream="DLQ",
        durable=fresh("advisories"),
        owner="registry",
        filter_subjects=(f"$JS.EVENT.ADVISORY.CONSUMER.*.{stream}.*",),
    )
    await bus.ensure_topology([], [consumer])
    await bus.consume(consumer, GIVEN_UP, advisories)
    return advisories


async def test_invalid_is_given_up_at_once(bus: Bus) -> None:
    consumer, channel, stream = await work_queue(bus)
    advisories, calls = await given_up(bus, stream), []

    async def handler(received: Received[m.PlacementWanted]) -> None:
        calls.append(received.deliveries)
        raise Invalid("It will never fit.")

    await bus.consume(consumer, channel, handler)
    await want(bus, channel, "wl-1")
    [received] = await advisories.wait(1)
    advisory = received.message
    assert (advisory.stream, advisory.consumer, advisory.deliveries) == (stream, "worker", 1)
    assert advisory.reason == f"lattice.test.{stream}.wl-1: Invalid: It will never fit."
    assert calls == [1]


async def test_other_errors_use_up_the_deliveries(bus: Bus) -> None:
    consumer, channel, stream = await work_queue(bus)
    advisories, calls = await given_up(bus, stream), []

    async def handler(received: Received[m.PlacementWanted]) -> None:
        calls.append(received.deliveries)
        raise RuntimeError("broke")

    await bus.consume(consumer, channel, handler)
    await want(bus, channel, "wl-1")
    [received] = await advisories.wait(1)
    assert received.message.deliveries == 4
    assert calls == [1, 2, 3, 4]


async def test_what_cannot_be_read_is_given_up(bus: Bus) -> None:
    consumer, channel, stream = await work_queue(bus)
    advisories, inbox = await given_up(bus, stream), Inbox()
    other = Channel(
        name="other", address=channel.address, payload=m.Done, meaning="", publishers=(), subscribers=(),
        stream=channel.stream,
    )  # fmt: skip
    await bus.append(other, m.Done(), msg_id=fresh("id"), workload_id="wl-1")
    await bus.consume(consumer, channel, inbox)
    [received] = await advisories.wait(1)
    assert "PlacementWanted" in received.message.reason
    assert inbox.got == []


async def test_members_share_a_consumer(world: World, bus: Bus) -> None:
    consumer, channel, _ = await work_queue(bus)
    inboxes = [Inbox(), Inbox()]
    for inbox in inboxes:
        await (await world.make("scheduler")).consume(consumer, channel, inbox)
    for number in range(100):
        await want(bus, channel, f"wl-{number}")
    await until(lambda: sum(len(inbox.got) for inbox in inboxes) == 100)
    got = [received.message.workload_id for inbox in inboxes for received in inbox.got]
    assert len(set(got)) == 100


async def test_one_at_a_time_keeps_the_order(bus: Bus) -> None:
    consumer, channel, _ = await work_queue(bus)
    inbox = Inbox()
    for number in range(150):
        await want(bus, channel, f"wl-{number}")
    await bus.consume(consumer, channel, inbox)
    got = await inbox.wait(150)
    assert [received.message.workload_id for received in got] == [f"wl-{number}" for number in range(150)]


async def test_several_are_handled_beside_each_other(bus: Bus) -> None:
    consumer, channel, _ = await work_queue(bus)
    together, done = asyncio.Barrier(4), []

    async def handler(_: Received[m.PlacementWanted]) -> None:
        await together.wait()
        done.append(1)

    await bus.consume(consumer, channel, handler, concurrency=4)
    for number in range(8):
        await want(bus, channel, f"wl-{number}")
    await until(lambda: len(done) == 8)


async def test_a_long_handler_keeps_its_message(bus: Bus) -> None:
    consumer, channel, _ = await work_queue(bus)
    calls, done = [], asyncio.Event()

    async def handler(received: Received[m.PlacementWanted]) -> None:
        calls.append(received.deliveries)
        await asyncio.sleep(4 * BACKOFF_S[0])
        done.set()

    await bus.consume(consumer, channel, handler, concurrency=2)
    await want(bus, channel, "wl-1")
    await asyncio.wait_for(done.wait(), WAIT_S)
    assert calls == [1]


async def test_a_stopped_consumer_leaves_the_rest_to_others(world: World, bus: Bus) -> None:
    consumer, channel, _ = await work_queue(bus)
    first, began = [], asyncio.Event()

    async def slow(received: Received[m.PlacementWanted]) -> None:
        first.append(received.message.workload_id)
        began.set()
        await asyncio.sleep(0.05)

    running = await bus.consume(consumer, channel, slow)
    for number in range(20):
        await want(bus, channel, f"wl-{number}")
    await asyncio.wait_for(began.wait(), WAIT_S)
    await running.stop()
    rest = Inbox()
    await (await world.make("scheduler")).consume(consumer, channel, rest)
    await until(lambda: len(first) + len(rest.got) >= 20)
    assert sorted(first + [received.message.workload_id for received in rest.got]) == sorted(
        f"wl-{number}" for number in range(20)
    )


# ------------------------------------------------------------------------------------------------ topology, leases


async def test_topology_can_be_ensured_again_and_changed(bus: Bus) -> None:
    consumer, channel, _ = await work_queue(bus)
    stream = channel.stream
    assert isinstance(stream, Stream)
    await want(bus, channel, "wl-1")
    await bus.ensure_topology([stream], [consumer])
    await bus.ensure_topology([replace(stream, max_age_s=3600)], [replace(consumer, max_ack_pending=8)])
    inbox = Inbox()
    await bus.consume(consumer, channel, inbox)
    assert (await inbox.wait(1))[0].message.workload_id == "wl-1"


async def test_one_leads_until_it_gives_up(world: World, bus: Bus) -> None:
    role, other = fresh("role"), await world.make("scheduler")
    mine = await bus.lease(role, "a", ttl_s=5)
    assert mine is not None
    assert await other.lease(role, "b", ttl_s=5) is None
    assert await mine.renew()
    await mine.release()
    theirs = await other.lease(role, "b", ttl_s=5)
    assert theirs is not None
    assert not await mine.renew()
    assert await theirs.renew()


async def test_a_lease_that_is_not_renewed_is_lost(world: World, bus: Bus) -> None:
    role, other = fresh("role"), await world.make("scheduler")
    mine = await bus.lease(role, "a", ttl_s=1)
    assert mine is not None
    await world.pass_time(0.5)
    assert await mine.renew()
    assert await other.lease(role, "b", ttl_s=1) is None
    await world.pass_time(1.1)
    theirs = None
    async with asyncio.timeout(WAIT_S):
        while theirs is None:
            theirs = await other.lease(role, "b", ttl_s=5)
    assert not await mine.renew()
    await mine.release()
    assert await theirs.renew()


async def test_who_asked_to_be_told_of_a_link_is_told_again_where_that_failed_for_a_moment(
    world: World,
) -> None:
    """A server that has just started refuses some requests, and nobody would ask again before the next link."""
    bus, calls = await world.make("registry"), []

    async def told() -> None:
        calls.append(bus.connected)
        if len(calls) < 3:
            raise Temporary("not yet")

    bus.on_connected(told)
    await until(lambda: len(calls) == 3)
    await asyncio.sleep(0.1)
    assert calls == [True, True, True], "and not again once it went through"
