"""The alerts service in memory: what the registry says is wrong becomes alerts that are told, and people have their word."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from lattice.alerts import CONTROL_PLANE_BLIND, NODE_UNREACHABLE
from lattice.contracts.catalogue import (
    ACKNOWLEDGE_ALERT,
    ALERT,
    CREATE_SILENCE,
    CREATE_SINK,
    END_SILENCE,
    GET_ALERT,
    LIST_ALERTS,
    LIST_DELIVERIES,
    LIST_SILENCES,
    LIST_SINKS,
    LIST_TROUBLES,
    RECEIVE_ALERTS,
    REMOVE_SINK,
    RESOLVE_ALERT,
    TEST_SINK,
)
from lattice.contracts.messages import (
    Alert,
    AlertChange,
    AlertCommand,
    AlertState,
    Caller,
    CreateSilence,
    CreateSink,
    EndSilence,
    ForeignAlert,
    GetAlert,
    ListAlerts,
    ListDeliveries,
    ListTroubles,
    Matchers,
    Page,
    ReceiveAlerts,
    Severity,
    SinkCommand,
    SinkKind,
    Trouble,
    TroubleKind,
    Troubles,
)
from lattice.contracts.streams import CONSUMERS, STREAMS
from lattice.envelope import MasterKeys
from lattice.errors import Conflict, Invalid, NotFound, Temporary
from lattice.metrics.instruments import REGISTRY
from lattice.testing import ManualClock, MemoryBus, MemoryStore
from services.alerts.app import AlertsService
from services.alerts.change import Pages
from services.alerts.tables import AlertRow, AuditRow, SinkRow
from services.alerts.watching import LOCK

CALLER = Caller(actor="user:ann", request_id="r1")
PAGES = Pages(runbook="https://docs.test/{runbook}", dashboard="https://grafana.test/d/{dashboard}")


@dataclass
class Written:
    """A sender that writes down what it would send, and fails when it is told to."""

    messages: list[tuple[str, str, str]] = field(default_factory=list)
    posted: list[list[dict[str, Any]]] = field(default_factory=list)
    beats: list[str] = field(default_factory=list)
    problem: str = ""

    async def message(self, url: str, title: str, body: str) -> str:
        if not self.problem:
            self.messages.append((url, title, body))
        return self.problem

    async def alertmanager(self, url: str, alerts: Sequence[dict[str, Any]]) -> str:
        self.posted.append(list(alerts))
        return self.problem

    async def heartbeat(self, url: str) -> str:
        self.beats.append(url)
        return self.problem


@dataclass
class World:
    """A registry that says what a test wants, and the alerts service beside it."""

    bus: MemoryBus
    store: MemoryStore
    clock: ManualClock
    service: AlertsService
    sender: Written
    wrong: list[Trouble] = field(default_factory=list)
    away: bool = False

    async def troubles(self, _: ListTroubles) -> Troubles:
        if self.away:
            raise Temporary("the database is away")
        return Troubles(items=tuple(self.wrong))

    async def look(self, *, after_s: float = 0.0) -> list[Alert]:
        """Look once; the alerts that are not over."""
        self.clock.advance(after_s)
        await self.service.watch.look()
        await self.service.teller.tell()
        return list((await self.bus.ask(LIST_ALERTS, ListAlerts())).items)

    @property
    def told(self) -> list[tuple[str, AlertChange, AlertState]]:
        kept = {
            (each.id, each.number): each for each in self.bus.sent(ALERT)
        }  # a repeat is dropped by the stream
        return [(each.name, each.change, each.state) for each in kept.values()]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = ManualClock()
    bus, store = MemoryBus(clock=clock), MemoryStore()
    await bus.ensure_topology(STREAMS, CONSUMERS)
    sender = Written()
    service = AlertsService(
        store=store, bus=bus, keys=MasterKeys(bytes(32)), sender=sender, clock=clock, pages=PAGES
    )
    await service.serve()
    world = World(bus, store, clock, service, sender)
    await bus.serve(LIST_TROUBLES, world.troubles)
    yield world


def unreachable(world: World) -> Trouble:
    return Trouble(
        kind=TroubleKind.NODE_UNREACHABLE,
        project="_platform",
        entity_id="nd-1",
        entity_name="hydra",
        since=world.clock.now(),
        detail="node hydra was not heard for a while",
    )


async def test_what_is_wrong_is_told_once_and_its_end_too(world: World) -> None:
    world.wrong = [unreachable(world)]
    (alert,) = await world.look()
    assert alert.name == "LatticeNodeUnreachable" and alert.severity is Severity.CRITICAL
    assert alert.runbook_url == "https://docs.test/node-unreachable"
    assert alert.dashboard_url == "https://grafana.test/d/lattice-node?var-node=hydra"
    assert alert.description == "node hydra was not heard for a while"
    assert [each.id for each in await world.look(after_s=60)] == [alert.id]
    world.wrong = []
    await world.look()
    assert await world.look(after_s=10) == []
    assert world.told == [
        ("LatticeNodeUnreachable", AlertChange.OPENED, AlertState.OPEN),
        ("LatticeNodeUnreachable", AlertChange.RESOLVED, AlertState.RESOLVED),
    ]
    over = await world.bus.ask(GET_ALERT, GetAlert(ref=alert.id))
    assert over.resolved_at is not None and over.number == 2 and over.resolved_by == ""


async def test_while_the_registry_is_silent_one_alert_says_so_and_none_ends(world: World) -> None:
    world.wrong = [unreachable(world)]
    await world.look()
    world.away = True
    await world.look()
    names = {alert.name for alert in await world.look(after_s=20)}
    assert names == {NODE_UNREACHABLE.name, CONTROL_PLANE_BLIND.name}
    world.away, world.wrong = False, []
    await world.look()
    assert await world.look(after_s=15) == []


async def test_who_looks_after_it_is_shown_and_audited(world: World) -> None:
    world.wrong = [unreachable(world)]
    (alert,) = await world.look()
    command = AlertCommand(caller=CALLER, ref=alert.id, note="on my way")
    seen = await world.bus.ask(ACKNOWLEDGE_ALERT, command)
    assert (seen.state, seen.acknowledged_by, seen.note) == (
        AlertState.ACKNOWLEDGED,
        "user:ann",
        "on my way",
    )
    assert [each.state for each in await world.look()] == [AlertState.ACKNOWLEDGED]
    async with world.store.transaction() as tx:
        (row,) = await tx.find(AuditRow)
    assert (row.actor, row.action, row.entity_id) == ("user:ann", "alert.acknowledge", alert.id)


async def test_what_somebody_declares_over_stays_over_until_it_was_well(world: World) -> None:
    world.wrong = [unreachable(world)]
    (alert,) = await world.look()
    over = await world.bus.ask(RESOLVE_ALERT, AlertCommand(caller=CALLER, ref=alert.id))
    assert over.state is AlertState.RESOLVED and over.resolved_by == "user:ann"
    assert await world.look(after_s=60) == []
    with pytest.raises(Conflict, match="was over"):
        await world.bus.ask(RESOLVE_ALERT, AlertCommand(caller=CALLER, ref=alert.id))
    world.wrong = []
    await world.look()
    await world.look(after_s=15)
    world.wrong = [unreachable(world)]
    (again,) = await world.look()
    assert again.id != alert.id and again.fingerprint == alert.fingerprint and again.occurrences == 1


async def test_a_silence_is_heard_of_and_ends(world: World) -> None:
    world.wrong = [unreachable(world)]
    await world.look()
    ends_at = world.clock.now() + timedelta(minutes=5)
    wanted = CreateSilence(
        caller=CALLER, matchers=Matchers(entity="hydra"), ends_at=ends_at, reason="new disk"
    )
    silence = await world.bus.ask(CREATE_SILENCE, wanted)
    (alert,) = await world.look()
    assert alert.state is AlertState.SILENCED and alert.silenced_until == ends_at
    await world.bus.ask(END_SILENCE, EndSilence(caller=CALLER, ref=silence.id))
    (alert,) = await world.look()
    assert alert.state is AlertState.OPEN
    assert (await world.bus.ask(LIST_SILENCES, Page())).items == ()
    assert [change for _, change, _ in world.told] == ["opened", "silenced", "unsilenced"]


async def test_a_window_that_is_announced_covers_what_opens_in_it(world: World) -> None:
    begins = world.clock.now() + timedelta(hours=1)
    wanted = CreateSilence(
        caller=CALLER,
        matchers=Matchers(entity="nd-1"),
        starts_at=begins,
        ends_at=begins + timedelta(hours=1),
        reason="maintenance",
    )
    window = await world.bus.ask(CREATE_SILENCE, wanted)
    assert not window.active
    world.clock.advance(3600)
    world.wrong = [unreachable(world)]
    (alert,) = await world.look()
    assert (alert.state, alert.change) == (AlertState.SILENCED, AlertChange.OPENED)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"matchers": Matchers()}, "/matchers"),
        ({"reason": " "}, "/reason"),
        ({"minutes": -1}, "/ends_at"),
    ],
)
async def test_a_silence_that_cannot_be_is_explained(
    world: World, changes: dict[str, object], pointer: str
) -> None:
    minutes = changes.pop("minutes", 5)
    values: dict[str, object] = {
        "matchers": Matchers(entity="x"),
        "reason": "why",
        "ends_at": world.clock.now() + timedelta(minutes=float(str(minutes))),
    }
    with pytest.raises(Invalid) as refused:
        await world.bus.ask(CREATE_SILENCE, CreateSilence(caller=CALLER, **(values | changes)))
    assert [error["pointer"] for error in refused.value.errors] == [pointer]


async def test_unknown_ids_are_named(world: World) -> None:
    with pytest.raises(NotFound, match="no alert"):
        await world.bus.ask(GET_ALERT, GetAlert(ref="al-x"))
    with pytest.raises(NotFound, match="no silence"):
        await world.bus.ask(END_SILENCE, EndSilence(caller=CALLER, ref="si-x"))


async def test_alerts_are_paged_newest_first(world: World) -> None:
    world.wrong = [
        Trouble(
            kind=TroubleKind.DEPLOY_FAILED, project=f"p{number}", entity_id=f"wl-{number}", entity_name="web"
        )
        for number in range(5)
    ]
    await world.look()
    seen, token = list[str](), None
    while True:
        page = await world.bus.ask(LIST_ALERTS, ListAlerts(page_size=2, page_token=token))
        seen += [alert.project for alert in page.items]
        token = page.next_page_token
        if token is None:
            break
    assert sorted(seen) == [f"p{number}" for number in range(5)]
    one = await world.bus.ask(LIST_ALERTS, ListAlerts(project="p3"))
    assert [alert.project for alert in one.items] == ["p3"]
    with pytest.raises(Invalid, match="page_token"):
        await world.bus.ask(LIST_ALERTS, ListAlerts(page_token="%"))


async def test_what_could_not_be_told_is_told_later_and_once(world: World) -> None:
    world.wrong = [unreachable(world)]
    world.bus.disconnect()
    with pytest.raises(Temporary):
        await world.look()
    await world.bus.reconnect()
    await world.look()
    world.bus.lose_acks = 1
    world.wrong = []
    with pytest.raises(Temporary):
        await world.look()
        await world.look(after_s=30)
    await world.service.teller.tell()
    async with world.store.transaction() as tx:
        assert await tx.count(AlertRow, resolved_at=None) == 0
    assert [change for name, change, _ in world.told if name == NODE_UNREACHABLE.name] == [
        "opened",
        "resolved",
    ]


# --- sinks -------------------------------------------------------------------------------------------------


def sink(kind: SinkKind = SinkKind.MESSAGES, **more: Any) -> CreateSink:
    urls = {SinkKind.MESSAGES: "ntfy://ntfy.test/topic"}
    values = {"name": "chat", "kind": kind, "url": urls.get(kind, "https://other.test/path?token=s3cret")}
    return CreateSink(caller=CALLER, **(values | more))


async def deliver(world: World, *, after_s: float = 6.0) -> None:
    world.clock.advance(after_s)
    await world.service.delivery.deliver()


async def states(world: World) -> list[tuple[str, str, int]]:
    listing = await world.bus.ask(LIST_DELIVERIES, ListDeliveries())
    return [(each.change, each.state.value, each.attempts) for each in listing.items]


async def test_what_opens_together_is_told_together_and_so_is_its_end(world: World) -> None:
    await world.bus.ask(CREATE_SINK, sink())
    other = unreachable(world).model_copy(update={"entity_id": "nd-2", "entity_name": "attic"})
    world.wrong = [unreachable(world), other]
    await world.look()
    await deliver(world, after_s=1)
    assert world.sender.messages == [], "others may follow"
    await deliver(world)
    ((url, title, body),) = world.sender.messages
    assert url == "ntfy://ntfy.test/topic"
    assert title == "[critical] 2 alerts: LatticeNodeUnreachable (2)"
    assert "node hydra: A node cannot be reached." in body and "https://docs.test/node-unreachable" in body
    world.wrong = [other]
    await world.look()
    await world.look(after_s=15)
    await deliver(world)
    assert world.sender.messages[1][1] == "[over] LatticeNodeUnreachable: hydra"
    assert await states(world) == [("resolved", "sent", 1), ("opened", "sent", 1), ("opened", "sent", 1)]


async def test_what_did_not_arrive_is_tried_again_and_the_sink_says_why(world: World) -> None:
    await world.bus.ask(CREATE_SINK, sink())
    world.wrong = [unreachable(world)]
    await world.look()
    world.sender.problem = "it answered 503"
    await deliver(world)
    await deliver(world, after_s=1)
    assert await states(world) == [("opened", "waiting", 1)], "not again at once"
    (shown,) = (await world.bus.ask(LIST_SINKS, Page())).items
    assert shown.problem == "it answered 503" and shown.last_sent_at is None
    world.sender.problem = ""
    await deliver(world)
    assert await states(world) == [("opened", "sent", 2)]
    (shown,) = (await world.bus.ask(LIST_SINKS, Page())).items
    assert shown.problem == "" and shown.last_sent_at is not None


async def test_after_a_day_of_failures_it_is_given_up(world: World) -> None:
    await world.bus.ask(CREATE_SINK, sink())
    world.wrong = [unreachable(world)]
    await world.look()
    world.sender.problem = "gone"
    for _ in range(40):
        await deliver(world, after_s=3601)
    assert await states(world) == [("opened", "failed", 29)]


async def test_nobody_is_told_of_what_is_silenced_less_grave_or_of_another_project(world: World) -> None:
    await world.bus.ask(CREATE_SINK, sink(name="grave", min_severity=Severity.CRITICAL))
    await world.bus.ask(CREATE_SINK, sink(name="shop", project="shop"))
    ends_at = world.clock.now() + timedelta(hours=1)
    wanted = CreateSilence(
        caller=CALLER, matchers=Matchers(entity="quiet"), ends_at=ends_at, reason="it is known"
    )
    await world.bus.ask(CREATE_SILENCE, wanted)
    deploy = Trouble(kind=TroubleKind.DEPLOY_FAILED, project="shop", entity_id="wl-1", entity_name="web")
    quiet = deploy.model_copy(update={"entity_id": "wl-2", "entity_name": "quiet"})
    world.wrong = [unreachable(world), deploy, quiet]
    await world.look()
    await deliver(world)
    titles = sorted(title for _, title, _ in world.sender.messages)
    assert titles == ["[critical] LatticeNodeUnreachable: hydra", "[warning] LatticeDeployFailed: web"]


async def test_an_alertmanager_hears_all_that_is_so_again_and_again(world: World) -> None:
    await world.bus.ask(CREATE_SINK, sink(SinkKind.ALERTMANAGER))
    world.wrong = [unreachable(world)]
    await world.look()
    await deliver(world, after_s=0)
    await deliver(world, after_s=1)
    assert len(world.sender.posted) == 1
    await deliver(world, after_s=60)
    ((alert,),) = world.sender.posted[1:]
    assert alert["labels"]["alertname"] == "LatticeNodeUnreachable" and alert["labels"]["node"] == "hydra"
    assert alert["endsAt"] > world.clock.now().isoformat()
    world.wrong = []
    await world.look()
    await world.look(after_s=15)
    await deliver(world, after_s=0)
    ((over,),) = world.sender.posted[2:]
    assert over["endsAt"] <= world.clock.now().isoformat()


async def test_a_dead_mans_switch_hears_of_us_only_while_alerts_are_watched(world: World) -> None:
    await world.bus.ask(CREATE_SINK, sink(SinkKind.HEARTBEAT))
    await deliver(world)
    assert world.sender.beats == [], "nobody has looked yet"
    await world.look()
    await deliver(world, after_s=60)
    assert world.sender.beats == [], "that was long ago"
    await world.look()
    world.service.delivery._sent_at.clear()
    await deliver(world, after_s=1)
    assert len(world.sender.beats) == 1


async def test_an_address_is_a_secret_and_is_checked(world: World) -> None:
    made = await world.bus.ask(CREATE_SINK, sink(SinkKind.HEARTBEAT))
    assert made.target == "https://other.test"
    async with world.store.transaction() as tx:
        (row,) = await tx.find(SinkRow)
    assert "s3cret" not in row.model_dump_json()
    with pytest.raises(Conflict, match="already"):
        await world.bus.ask(CREATE_SINK, sink())
    for wrong in ("dbus://", "syslog://", "/bin/sh", "https://x.test"):
        with pytest.raises(Invalid, match="address of Apprise"):
            await world.bus.ask(CREATE_SINK, sink(name="other", url=wrong))
    with pytest.raises(Invalid, match="https://"):
        await world.bus.ask(CREATE_SINK, sink(SinkKind.ALERTMANAGER, name="other", url="slack://x"))


async def test_a_test_says_what_the_other_side_said_and_a_removed_sink_is_told_nothing(world: World) -> None:
    await world.bus.ask(CREATE_SINK, sink())
    command = SinkCommand(caller=CALLER, ref="chat")
    assert (await world.bus.ask(TEST_SINK, command)).delivered
    world.sender.problem = "it answered 401"
    tested = await world.bus.ask(TEST_SINK, command)
    assert not tested.delivered and tested.problem == "it answered 401"
    world.wrong = [unreachable(world)]
    await world.look()
    await world.bus.ask(REMOVE_SINK, command)
    world.sender.problem = ""
    await deliver(world)
    assert [state for _, state, _ in await states(world)] == ["failed"]
    assert [title for _, title, _ in world.sender.messages] == ["[test] Lattice alerts"]
    with pytest.raises(NotFound, match="no sink"):
        await world.bus.ask(TEST_SINK, command)


# --- others' alerts ----------------------------------------------------------------------------------------


def foreign(*, firing: bool = True, fingerprint: str = "f1", **labels: str) -> ForeignAlert:
    given = {"alertname": "HighLatency", "severity": "page", "instance": "web-1"} | labels
    return ForeignAlert(
        fingerprint=fingerprint, firing=firing, labels=given, annotations={"description": "p99 is 3 s"}
    )


async def receive(world: World, *alerts: ForeignAlert) -> tuple[int, int, int]:
    said = await world.bus.ask(RECEIVE_ALERTS, ReceiveAlerts(alerts=alerts))
    return said.opened, said.resolved, said.ours


async def test_others_alerts_live_like_ours_and_end_with_those_who_brought_them(world: World) -> None:
    assert await receive(world, foreign()) == (1, 0, 0)
    assert await receive(world, foreign(), foreign(fingerprint="f2", lattice_alert="al-1")) == (0, 0, 1)
    (alert,) = await world.look(after_s=3600)
    assert (alert.name, alert.severity, alert.project, alert.entity_name, alert.description) == (
        "HighLatency",
        Severity.CRITICAL,
        "_platform",
        "web-1",
        "p99 is 3 s",
    )
    ends_at = world.clock.now() + timedelta(hours=1)
    wanted = CreateSilence(
        caller=CALLER, matchers=Matchers(name="HighLatency"), ends_at=ends_at, reason="known"
    )
    await world.bus.ask(CREATE_SILENCE, wanted)
    (alert,) = await world.look()
    assert alert.state is AlertState.SILENCED
    assert await receive(world, foreign(firing=False), foreign(firing=False)) == (0, 1, 0)
    assert await world.look() == []


@pytest.mark.parametrize(
    ("labels", "name", "severity", "project"),
    [
        ({}, "HighLatency", Severity.CRITICAL, "_platform"),
        ({"alertname": "a.b c>*", "severity": "info"}, "a_b_c__", Severity.INFO, "_platform"),
        ({"alertname": "", "severity": "loud", "project": "shop"}, "Unnamed", Severity.WARNING, "shop"),
        ({"project": "not a project"}, "HighLatency", Severity.CRITICAL, "_platform"),
    ],
)
async def test_what_others_say_fits_a_subject(
    world: World, labels: dict[str, str], name: str, severity: Severity, project: str
) -> None:
    await receive(world, foreign(**labels))  # type: ignore[arg-type]
    (alert,) = await world.look()
    assert (alert.name, alert.severity, alert.project) == (name, severity, project)
    assert world.bus.sent(ALERT)[0].id == alert.id


async def test_a_measured_alert_comes_back_with_its_runbook_and_dashboard(world: World) -> None:
    labels = {
        "alertname": "LatticeWorkloadMemoryNearLimit",
        "project": "shop",
        "workload": "web",
        "instance": "",
    }
    await receive(world, foreign(**labels))  # type: ignore[arg-type]
    (alert,) = await world.look()
    assert (alert.project, alert.entity_name) == ("shop", "web")
    assert alert.runbook_url == "https://docs.test/workload-memory-near-limit"
    assert alert.dashboard_url == "https://grafana.test/d/lattice-workload?var-project=shop&var-workload=web"


# --- what it counts ----------------------------------------------------------------------------------------


def counted(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_what_is_wrong_is_counted_by_who_judges(world: World) -> None:
    opened = counted("lattice_alerts_changes_total", change="opened") or 0
    sent = counted("lattice_alerts_deliveries_total", outcome="sent") or 0
    await world.bus.ask(CREATE_SINK, sink())
    world.wrong = [unreachable(world)]
    await world.look()
    await deliver(world)
    await world.look()
    assert counted("lattice_alerts_living", severity="critical", state="open") == 1
    assert counted("lattice_alerts_living", severity="warning", state="open") == 0
    assert counted("lattice_alerts_looked_time_seconds") == world.clock.now().timestamp()
    assert counted("lattice_alerts_changes_total", change="opened") == opened + 1
    assert counted("lattice_alerts_deliveries_total", outcome="sent") == sent + 1
    async with world.store.exclusive(LOCK):
        await world.service.watch.look()
    assert counted("lattice_alerts_living", severity="critical", state="open") is None
