"""The link comes back from whatever ends it, and everything on it goes on: each case names what once ended nats-py for good."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client, RawCredentials

from lattice.bus import NatsBus
from lattice.bus_client import answered, is_refusal
from lattice.bus_complaints import QUIET_S, Complaints
from lattice.contracts import messages as m
from lattice.contracts.catalogue import (
    DESIRED_DOCUMENT,
    FACT,
    GET_NODE,
    HEARTBEAT,
    PLACEMENT_WANTED,
    RESYNC,
)
from lattice.contracts.streams import CONSUMERS, SCHED_BY_SCHEDULER, STREAMS
from lattice.errors import NotFound, Temporary
from lattice.messaging import Outgoing, Received
from lattice.settings import BusSettings
from tests.fixtures.nats import BusIdentity, NatsServer

WAIT_S = 30.0
AT = datetime(2030, 1, 1, tzinfo=UTC)


def settings(server: NatsServer, who: BusIdentity) -> BusSettings:
    return BusSettings(
        urls=[server.url],
        ca_file=who.ca_file,
        cert_file=who.certificate_file,
        key_file=who.key_file,
        creds_file=who.credentials_file,
        server_name="localhost",
    )


@asynccontextmanager
async def on_the_bus(server: NatsServer, name: str = "registry") -> AsyncIterator[NatsBus]:
    async with NatsBus(settings(server, server.service(name)), identity=name) as bus:
        await until(lambda: bus.connected)
        yield bus


async def until(wanted: Callable[[], Any], within_s: float = WAIT_S) -> None:
    async with asyncio.timeout(within_s):
        while not wanted():
            await asyncio.sleep(0.01)


async def aside(work: Callable[[], Any]) -> None:
    """What blocks, in a thread, so that the link lives meanwhile."""
    await asyncio.to_thread(work)


def heartbeat(session: int) -> m.Heartbeat:
    return m.Heartbeat(node_id="nd-1", boot_id="b", session=session, agent_version="1")


async def say(bus: NatsBus, session: int) -> None:
    await bus.publish(HEARTBEAT, heartbeat(session), node_id="nd-1")


async def want(bus: NatsBus, workload_id: str) -> None:
    await bus.append(
        PLACEMENT_WANTED,
        m.PlacementWanted(workload_id=workload_id),
        msg_id=workload_id,
        workload_id=workload_id,
    )


class Everything:
    """A bus with one of each: a subscription, a server, a consumer."""

    def __init__(self, bus: NatsBus) -> None:
        self.bus = bus
        self.sessions: list[int] = []
        self.workloads: list[str] = []
        self.came = 0

    async def start(self) -> Everything:
        await self.bus.ensure_topology(STREAMS, CONSUMERS)
        self.bus.on_connected(self._on_connected)
        await self.bus.subscribe(HEARTBEAT, self._on_heartbeat)
        await self.bus.serve(RESYNC, self._resync, node_id="nd-1")
        await self.bus.serve(GET_NODE, self._get_node)
        await self.bus.consume(SCHED_BY_SCHEDULER, PLACEMENT_WANTED, self._on_wanted)
        await until(lambda: self.came == 1)
        return self

    async def _on_connected(self) -> None:
        self.came += 1

    async def _on_heartbeat(self, received: Received[m.Heartbeat]) -> None:
        self.sessions.append(received.message.session)

    async def _on_wanted(self, received: Received[m.PlacementWanted]) -> None:
        self.workloads.append(received.message.workload_id)

    async def _resync(self, _: m.Resync) -> m.Done:
        return m.Done()

    async def _get_node(self, request: m.GetByName) -> Any:
        raise NotFound(request.ref)

    async def works(self, tag: str, *, consumes_within_s: float = 2.0) -> None:
        """Every part works, right now."""
        number = len(self.sessions) + 1000
        await say(self.bus, number)
        await until(lambda: number in self.sessions, 5)
        assert await self.bus.ask(RESYNC, m.Resync(), node_id="nd-1") == m.Done()
        with pytest.raises(NotFound):
            await self.bus.ask(GET_NODE, m.GetByName(ref="nd-9"))
        await want(self.bus, tag)
        await until(lambda: tag in self.workloads, consumes_within_s)


# ------------------------------------------------------------------------------------------------ the server comes and goes


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_everything_goes_on_after_a_restart(own_nats_server: NatsServer, how: str) -> None:
    async with on_the_bus(own_nats_server) as bus:
        everything = await Everything(bus).start()
        await everything.works("wl-before")
        for round_ in range(2):
            await aside(getattr(own_nats_server, how))
            await until(lambda: not bus.connected)
            with pytest.raises(Temporary):
                await say(bus, 1)
            assert "no link to NATS" in await bus.ready()
            await aside(own_nats_server.start)
            await until(lambda: bus.connected)
            assert await bus.ready() == ""
            await until(lambda: everything.came == 2 + round_)  # noqa: B023
            await everything.works(f"wl-after-{round_}")


async def test_a_consumer_resumes_within_2_s(own_nats_server: NatsServer) -> None:
    async with on_the_bus(own_nats_server) as bus, on_the_bus(own_nats_server, "other") as other:
        everything = await Everything(bus).start()
        await aside(own_nats_server.kill)
        await aside(own_nats_server.start)
        await until(lambda: bus.connected and other.connected)
        began_s = time.monotonic()
        await want(other, "wl-1")
        await until(lambda: "wl-1" in everything.workloads, 2.0)
        assert time.monotonic() - began_s < 2.0


async def test_parts_may_start_before_the_server(own_nats_server: NatsServer) -> None:
    who = own_nats_server.service("registry")
    await aside(own_nats_server.stop)
    heard: list[int] = []

    async def note(received: Received[m.Heartbeat]) -> None:
        heard.append(received.message.session)

    async with NatsBus(settings(own_nats_server, who), identity="registry") as bus:
        await bus.subscribe(HEARTBEAT, note)
        with pytest.raises(Temporary):
            await bus.ask(RESYNC, m.Resync(), node_id="nd-1")
        await aside(own_nats_server.start)
        await until(lambda: bus.connected)
        await say(bus, 7)
        await until(lambda: heard == [7])


async def test_an_append_lasts_through_a_restart(own_nats_server: NatsServer) -> None:
    async with on_the_bus(own_nats_server) as bus:
        everything = await Everything(bus).start()
        await aside(own_nats_server.kill)
        appending = asyncio.create_task(want(bus, "wl-1"))
        await aside(own_nats_server.start)
        await appending
        await until(lambda: everything.workloads == ["wl-1"])


async def test_a_bulk_lasts_through_a_restart(own_nats_server: NatsServer) -> None:
    tokens = {"project": "shop", "entity": "workload", "verb": "created"}
    outgoing = [
        Outgoing(
            FACT,
            m.Fact(
                seq=seq, id=f"fa-{seq}", project="shop", entity="workload", verb="created", entity_id="w", actor="a", at=AT
            ),
            f"f-{seq}",
            tokens,
        )
        for seq in range(5000)
    ]  # fmt: skip
    async with on_the_bus(own_nats_server) as bus:
        await bus.ensure_topology(STREAMS, CONSUMERS)
        appending = asyncio.create_task(bus.append_all(outgoing))
        await asyncio.sleep(0.05)
        await aside(own_nats_server.kill)
        await aside(own_nats_server.start)
        stored = None
        async with asyncio.timeout(WAIT_S):
            while stored is None:
                try:
                    stored = await appending
                except Temporary:
                    await until(lambda: bus.connected)
                    appending = asyncio.create_task(bus.append_all(outgoing))
        assert len({each.seq for each in stored}) == 5000


async def test_a_server_that_hangs_is_noticed(own_nats_server: NatsServer) -> None:
    async with on_the_bus(own_nats_server) as bus:
        everything = await Everything(bus).start()
        own_nats_server.pause()
        await until(lambda: not bus.connected)
        own_nats_server.resume()
        await until(lambda: bus.connected)
        await everything.works("wl-1")


async def test_a_request_does_not_outlive_its_connection(own_nats_server: NatsServer) -> None:
    asked = asyncio.Event()

    async def never(_: m.Resync) -> m.Done:
        asked.set()
        await asyncio.Event().wait()
        return m.Done()

    async with on_the_bus(own_nats_server) as bus, on_the_bus(own_nats_server, "other") as other:
        await other.serve(RESYNC, never, node_id="nd-1")
        asking = asyncio.create_task(bus.ask(RESYNC, m.Resync(), timeout_s=60, node_id="nd-1"))
        await asyncio.wait_for(asked.wait(), WAIT_S)
        await aside(own_nats_server.kill)
        with pytest.raises(Temporary, match="link to NATS"):
            await asyncio.wait_for(asking, 10)
        await aside(own_nats_server.start)


async def test_a_handler_is_not_cut_off_with_its_connection(own_nats_server: NatsServer) -> None:
    began, release, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_: Received[m.Heartbeat]) -> None:
        began.set()
        await release.wait()
        ended.set()

    async with on_the_bus(own_nats_server) as bus:
        await bus.subscribe(HEARTBEAT, slow)
        await say(bus, 1)
        await asyncio.wait_for(began.wait(), WAIT_S)
        await aside(own_nats_server.kill)
        await until(lambda: not bus.connected)
        release.set()
        await asyncio.wait_for(ended.wait(), WAIT_S)
        await aside(own_nats_server.start)


# ------------------------------------------------------------------------------------------------ credentials


def put_credentials(into: BusSettings, who: BusIdentity) -> None:
    """What a renewal does: other content in the same files."""
    shutil.copy(who.credentials_file, into.creds_file)
    shutil.copy(who.certificate_file, into.cert_file)
    shutil.copy(who.key_file, into.key_file)


async def test_renewed_before_it_expires(own_nats_server: NatsServer) -> None:
    short = settings(own_nats_server, own_nats_server.service("registry", expires_in=timedelta(seconds=4)))
    async with NatsBus(short, identity="registry") as bus:
        await until(lambda: bus.connected)
        everything = await Everything(bus).start()
        put_credentials(short, own_nats_server.service("registry"))
        await bus.renew()
        await until(lambda: everything.came == 2)
        await asyncio.sleep(5)
        assert bus.connected
        assert everything.came == 2
        await everything.works("wl-1")


async def test_renewed_files_are_used_without_a_word(own_nats_server: NatsServer) -> None:
    short = settings(own_nats_server, own_nats_server.service("registry", expires_in=timedelta(seconds=6)))
    async with NatsBus(short, identity="registry") as bus:
        await until(lambda: bus.connected)
        everything = await Everything(bus).start()
        put_credentials(short, own_nats_server.service("registry"))
        await until(lambda: everything.came == 2, 5)  # before the old ticket expires
        await everything.works("wl-1")


async def test_an_expired_ticket_is_told_and_a_new_one_used(own_nats_server: NatsServer) -> None:
    short = settings(own_nats_server, own_nats_server.node("nd-1", expires_in=timedelta(seconds=2)))
    refusals: list[str] = []
    async with NatsBus(short, identity="nd-1") as bus:

        async def renew() -> None:
            refusals.append(await bus.ready())

        bus.on_refused(renew)
        await until(lambda: bus.connected)
        await until(lambda: not bus.connected)
        await until(lambda: len(refusals) >= 2)
        assert "no link to NATS" in refusals[0]
        put_credentials(short, own_nats_server.node("nd-1"))
        await bus.renew()
        await until(lambda: bus.connected, 5)
        await say(bus, 1)


@asynccontextmanager
async def system(server: NatsServer) -> AsyncIterator[Client]:
    who, client = server.system(), Client()
    await client.connect(
        server.url, user_credentials=RawCredentials(who.credentials), tls=who.tls, tls_handshake_first=True
    )
    yield client
    await client.close()


async def test_a_link_that_is_kicked_comes_back(own_nats_server: NatsServer) -> None:
    async with on_the_bus(own_nats_server) as bus, system(own_nats_server) as admin:
        everything = await Everything(bus).start()
        reply = await admin.request("$SYS.REQ.SERVER.PING.CONNZ", b"{}", timeout=5)
        data = json.loads(reply.data)
        server_id = data["server"]["id"]
        mine = [each["cid"] for each in data["data"]["connections"] if each.get("name") == "registry"]
        for cid in mine:
            await admin.request(
                f"$SYS.REQ.SERVER.{server_id}.KICK", json.dumps({"cid": cid}).encode(), timeout=5
            )
        await until(lambda: everything.came == 2)
        await everything.works("wl-1")


async def test_a_revoked_link_stays_out_until_it_has_another_ticket(own_nats_server: NatsServer) -> None:
    who = own_nats_server.service("registry")
    refusals: list[int] = []

    async def refused() -> None:
        refusals.append(1)

    mine = settings(own_nats_server, who)
    async with NatsBus(mine, identity="registry") as bus, system(own_nats_server) as admin:
        bus.on_refused(refused)
        await until(lambda: bus.connected)
        account = own_nats_server.account(
            revocations={who.user.public: datetime.now(UTC) + timedelta(seconds=1)}
        )
        await admin.request("$SYS.REQ.CLAIMS.UPDATE", account.encode(), timeout=5)
        await until(lambda: not bus.connected, 5)
        await until(lambda: len(refusals) >= 2)
        put_credentials(mine, own_nats_server.service("registry"))
        await bus.renew()
        await until(lambda: bus.connected, 5)


async def test_a_wrong_server_is_not_spoken_to(own_nats_server: NatsServer, tmp_path: Path) -> None:
    good = settings(own_nats_server, own_nats_server.service("registry"))
    other_name = good.model_copy(update={"server_name": "elsewhere.example"})
    async with NatsBus(other_name, identity="registry") as bus:
        await until(lambda: "ertificate" in bus._link.problem)
        assert not bus.connected


async def test_missing_files_are_waited_for(own_nats_server: NatsServer, tmp_path: Path) -> None:
    good = settings(own_nats_server, own_nats_server.service("registry"))
    late = good.model_copy(update={"cert_file": tmp_path / "cert.pem"})
    async with NatsBus(late, identity="registry") as bus:
        await until(lambda: "cert.pem" in bus._link.problem or "No such file" in bus._link.problem)
        shutil.copy(good.cert_file, late.cert_file)
        await until(lambda: bus.connected)


# ------------------------------------------------------------------------------------------------ how it complains


def test_a_complaint_is_not_repeated_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        "lattice.bus_complaints.logger.warning", lambda _format, *parts: said.append("".join(parts))
    )
    now_s = 0.0
    complaints = Complaints(monotonic_s=lambda: now_s)
    for _ in range(450):
        complaints.say("slow", "too slow")
    complaints.say("login", "refused")
    now_s = QUIET_S
    complaints.say("slow", "too slow")
    assert said == ["too slow", "refused", "too slow (449 more like it)"]


@pytest.mark.parametrize(
    ("problem", "refused"),
    [
        ("nats: 'Authorization Violation'", True),
        ("nats: 'User Authentication Expired'", True),
        ("nats: 'User Authentication Revoked'", True),
        ("[Errno 111] Connect call failed ('127.0.0.1', 4222)", False),
        ("nats: stale connection", False),
    ],
)
def test_what_counts_as_refused(problem: str, refused: bool) -> None:
    assert is_refusal(problem) is refused


async def test_a_ping_that_cannot_be_answered_any_more_is_not_waited_for(own_nats_server: NatsServer) -> None:
    """nats-py's own `flush` waits its whole time, here longer than the test may take."""
    async with on_the_bus(own_nats_server) as bus:
        client = bus._link.client
        own_nats_server.pause()
        asking = asyncio.create_task(answered(client, 300))
        await asyncio.sleep(0)
        own_nats_server.kill()
        with pytest.raises(nats.errors.ConnectionClosedError):
            await asyncio.wait_for(asking, 5)


async def test_a_refused_subscription_is_counted(own_nats_server: NatsServer) -> None:
    from lattice.metrics import every_process as metrics

    counter = metrics.LINK_PROBLEMS.labels("permission")
    before = counter._value.get()

    async def never(_: Received[Any]) -> None:
        raise AssertionError("heard what is forbidden")

    async with NatsBus(settings(own_nats_server, own_nats_server.node("nd-1")), identity="nd-1") as bus:
        await until(lambda: bus.connected)
        await bus.subscribe(DESIRED_DOCUMENT, never)
        await until(lambda: counter._value.get() > before)
        await say(bus, 1)


async def test_what_is_wanted_while_the_link_comes_up_is_heard(own_nats_server: NatsServer) -> None:
    heard: set[int] = set()

    def ear(number: int) -> Callable[[Received[m.Heartbeat]], Any]:
        async def hear(_: Received[m.Heartbeat]) -> None:
            heard.add(number)

        return hear

    for _ in range(3):
        heard.clear()
        async with NatsBus(
            settings(own_nats_server, own_nats_server.service("registry")), identity="registry"
        ) as bus:
            count = 0
            while not bus.connected or count < 100:
                await bus.subscribe(HEARTBEAT, ear(count))
                count += 1
                await asyncio.sleep(0.001)
            await say(bus, 1)
            await until(lambda count=count: len(heard) == count, within_s=5)  # type: ignore[misc]
