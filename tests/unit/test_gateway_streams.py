"""What flows: facts without a gap, log lines once each, terminals; and that all of it ends when the right to it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard

from lattice.clock import SystemClock
from lattice.contracts import catalogue
from lattice.contracts.messages import Fact, LogBlock, LogLine, LogPlace, QueryLogs
from lattice.contracts.nouns import Role
from lattice.errors import Invalid
from lattice.log_levels import LogLevel
from lattice.log_matching import LineMatcher
from services.gateway.fact_feed import FactFeed
from services.gateway.log_lines import Seen, Shown, decode, time_ns_of, time_of
from services.gateway.log_stream import LogReader, follow
from services.gateway.routes.logs import moment_ns
from tests.fixtures.event_stream import Stream
from tests.fixtures.gateway import NODE, World, running_gateway
from tests.fixtures.log_blocks import packed

SOON_S = 10


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path) as world:
        yield world


async def _eventually(ready: Any) -> None:
    async with asyncio.timeout(SOON_S):
        while not ready():
            await asyncio.sleep(0.01)


# ---------------------------------------------------------------- facts


def _ids(events: list[dict[str, str]]) -> list[int]:
    return [int(event["id"]) for event in events]


async def test_a_stream_starts_where_it_is_told_and_goes_on_live(world: World) -> None:
    for _ in range(5):
        world.registry.add_fact()
    stream = Stream(world, "/v1/events?after=2&follow=true")
    assert _ids(await stream.take(3)) == [3, 4, 5]
    await world.tell(world.registry.add_fact(verb="created"))
    event = await stream.next()
    assert (event["id"], event["event"]) == ("6", "workload.created")
    assert json.loads(event["data"])["seq"] == 6
    await stream.close()


async def test_a_stream_resumes_after_the_last_event_without_a_gap(world: World) -> None:
    stream = Stream(world, "/v1/events?after=0&follow=true")
    await world.tell(world.registry.add_fact())
    last = (await stream.next())["id"]
    await stream.close()
    for _ in range(700):  # more than one page, while nobody listens
        await world.tell(world.registry.add_fact())
    resumed = Stream(world, "/v1/events?follow=true", headers={"Last-Event-ID": last})
    assert _ids(await resumed.take(700)) == list(range(2, 702))
    await resumed.close()


async def test_lost_doubled_and_swapped_facts_arrive_once_and_in_order(world: World) -> None:
    stream = Stream(world, "/v1/events?after=0&follow=true")
    await _eventually(lambda: stream.comments)
    facts = [world.registry.add_fact() for _ in range(6)]
    for index in (0, 0, 3, 2, 5):  # 2 and 5 are lost, 3 comes late, 1 comes twice
        await world.tell(facts[index])
    assert _ids(await stream.take(6)) == [1, 2, 3, 4, 5, 6]
    assert stream.events.empty()
    await stream.close()


async def test_a_fact_whose_message_was_lost_is_found_when_nothing_else_happens(world: World) -> None:
    stream = Stream(world, "/v1/events?after=0&follow=true")
    await _eventually(lambda: stream.comments)
    world.registry.add_fact()  # told to nobody
    assert (await stream.next())["id"] == "1"
    await stream.close()


async def test_a_stream_outlives_an_outage_of_the_bus(world: World) -> None:
    stream = Stream(world, "/v1/events?after=0&follow=true")
    await _eventually(lambda: stream.comments)
    world.bus.disconnect()
    world.registry.add_fact()
    await asyncio.sleep(0)
    await world.bus.reconnect()
    assert (await stream.next())["id"] == "1"
    await stream.close()


async def test_without_a_start_a_stream_begins_now(world: World) -> None:
    world.registry.add_fact()
    stream = Stream(world, "/v1/events", headers={"Accept": "text/event-stream"})
    await _eventually(lambda: stream.comments)
    await world.tell(world.registry.add_fact())
    assert (await stream.next())["id"] == "2"
    await stream.close()


async def test_a_reader_of_one_project_sees_that_one_only(world: World) -> None:
    await world.add_user("ada", {"own": Role.VIEWER})
    for project in ("own", "other", "_platform", "own"):
        world.registry.add_fact(project=project)
    stream = Stream(world, "/v1/events?after=0&follow=true&project=own", as_="ada")
    assert _ids(await stream.take(2)) == [1, 4]
    await world.tell(world.registry.add_fact(project="other"))
    await world.tell(world.registry.add_fact(project="own"))
    assert (await stream.next())["id"] == "6"
    await stream.close()
    page = (await world.get("/v1/events", as_="ada", params={"project": "own", "limit": 2})).json()
    assert [fact["seq"] for fact in page["items"]] == [1, 4]
    assert (await world.get("/v1/events", as_="ada")).status_code == 403


async def test_facts_come_in_pages_too(world: World) -> None:
    for _ in range(3):
        world.registry.add_fact()
    page = (await world.get("/v1/events?limit=2")).json()
    assert ([fact["seq"] for fact in page["items"]], page["next_page_token"], page["head"]) == (
        [1, 2],
        "2",
        3,
    )
    rest = (await world.get("/v1/events?limit=2&after=2")).json()
    assert ([fact["seq"] for fact in rest["items"]], rest["next_page_token"]) == ([3], None)


@pytest.mark.parametrize("last", ["x", "-1", "1e3", "9" * 20])
async def test_a_last_event_that_is_none_is_refused(world: World, last: str) -> None:
    headers = {"Last-Event-ID": last}
    answer = await world.get("/v1/events?follow=true", headers=headers)
    assert answer.status_code == 422


async def test_a_listener_that_is_too_slow_misses_nothing(world: World) -> None:
    feed: FactFeed = world.app.state.gateway.facts
    ended = asyncio.Event()
    seen: list[Fact] = []
    async with aclosing(feed.follow(0, ended=ended)) as facts:
        await anext(facts)  # listens now
        for _ in range(1500):  # its queue holds 1000
            await world.tell(world.registry.add_fact())
        async for fact in facts:
            if fact is not None:
                seen.append(fact)
            if len(seen) == 1500:
                break
    assert [fact.seq for fact in seen] == list(range(1, 1501))


async def test_revoking_a_token_cuts_its_streams_within_a_second(world: World) -> None:
    made = (await world.post("/v1/tokens", json={"name": "ci"})).json()
    world.tokens["ci"] = made["token"]
    stream = Stream(world, "/v1/events?after=0&follow=true", as_="ci")
    await _eventually(lambda: stream.comments)
    await world.request("DELETE", f"/v1/tokens/{made['id']}")
    await asyncio.wait_for(stream.task, 1.5)


# ---------------------------------------------------------------- logs


def _block(
    first: int,
    *texts: str,
    instance: str = "in-1",
    source: str = "c1",
    workload: str = "wl-1",
    at_ns: int = 0,
) -> tuple[LogBlock, bytes]:
    lines = [(at_ns + 1_000 * (first + i), "stdout", text) for i, text in enumerate(texts)]
    meta = LogBlock(
        node_id=NODE, workload_id=workload, instance_id=instance, project="default", slot=0, epoch=1, source=source,
        first=first, last=first + len(texts) - 1, first_at_ns=first * 1000, last_at_ns=(first + len(texts)) * 1000,
    )  # fmt: skip
    return meta, packed(lines)


def _line(number: int, text: str) -> LogLine:
    return LogLine(
        time=time_of(1000 * number), node="one", workload="web", instance="in-1", stream="stdout", message=text, number=number,
        source="c1",
    )  # fmt: skip


async def _say(world: World, workload_id: str, first: int, *texts: str, **more: Any) -> None:
    meta, body = _block(first, *texts, workload=workload_id, **more)
    await world.bus.publish(catalogue.LOG_BLOCK, meta, body=body, node_id=NODE, workload_id=workload_id)
    await world.bus.settle()


def _messages(events: list[dict[str, str]]) -> list[str]:
    return [json.loads(event["data"])["message"] for event in events]


async def test_stored_lines_are_json_lines(world: World) -> None:
    world.registry.add_workload("web", instance_id="in-1")
    world.registry.log_lines = [_line(1, "one"), _line(2, "two"), _line(3, "three")]
    answer = await world.get("/v1/workloads/web/logs?limit=2")
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert [json.loads(line)["message"] for line in answer.text.splitlines()] == ["two", "three"]
    assert {json.loads(line)["node"] for line in answer.text.splitlines()} == {"one"}
    assert (await world.get("/v1/workloads/web/logs?grep=one")).text.count("\n") == 1


@pytest.mark.parametrize(
    ("takes", "packed"),
    [("gzip, zstd;q=0.5", True), ("zstd", True), ("gzip", False), ("zstd;q=0", False), ("", False)],
)
async def test_lines_are_packed_for_who_can_unpack_them(world: World, takes: str, packed: bool) -> None:
    world.registry.add_workload("web", instance_id="in-1")
    world.registry.log_lines = [_line(1, "one"), _line(2, "two")]
    answer = await world.get("/v1/workloads/web/logs", headers={"Accept-Encoding": takes})
    assert answer.headers.get("Content-Encoding") == ("zstd" if packed else None)
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert [json.loads(line)["message"] for line in answer.text.splitlines()] == ["one", "two"]


async def test_followed_lines_come_once_whether_stored_or_live(world: World) -> None:
    view = world.registry.add_workload("web", instance_id="in-1")
    world.registry.log_lines = [_line(1, "one"), _line(2, "two")]
    stream = Stream(world, "/v1/workloads/web/logs?follow=true")
    assert _messages(await stream.take(2)) == ["one", "two"]
    await _say(world, view.id, 2, "two", "three")  # the first of them was in the store already
    await _say(world, view.id, 1, "restarted", source="c2", at_ns=1_000_000)  # another container counts anew
    assert _messages(await stream.take(2)) == ["three", "restarted"]
    await stream.close()


async def test_live_lines_of_a_node_that_does_not_have_the_instance_are_not_shown(world: World) -> None:
    """A node may speak under its own name only, but on the subject of any workload."""
    view = world.registry.add_workload("web", instance_id="in-1")
    stream = Stream(world, "/v1/workloads/web/logs?follow=true")
    await _eventually(lambda: world.registry.log_queries)
    mine, body = _block(1, "forged", workload=view.id)
    for meta in (mine, mine.model_copy(update={"node_id": "nd-other"})):
        await world.bus.publish(catalogue.LOG_BLOCK, meta, body=body, node_id="nd-other", workload_id=view.id)
    await _say(world, view.id, 1, "forged as well", instance="in-2")  # an instance that nobody knows
    await _say(world, view.id, 1, "real")
    assert _messages(await stream.take(1)) == ["real"]
    await stream.close()


async def test_lines_of_an_instance_that_came_later_are_shown(world: World) -> None:
    view = world.registry.add_workload("web", instance_id="in-1")
    stream = Stream(world, "/v1/workloads/web/logs?follow=true")
    await _eventually(lambda: world.registry.log_queries)
    later = view.instances[0].model_copy(update={"id": "in-2"})
    world.registry.workloads["default", "web"] = view.model_copy(update={"instances": (later,)})
    await _say(world, view.id, 1, "moved", instance="in-2")
    assert _messages(await stream.take(1)) == ["moved"]
    await stream.close()


async def test_a_line_on_its_way_into_the_store_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.log_stream.SECOND_LOOK_S", 0.1)
    world.registry.add_workload("web", instance_id="in-1")
    world.registry.log_lines = [_line(1, "one")]
    stream = Stream(world, "/v1/workloads/web/logs?follow=true")
    assert _messages(await stream.take(1)) == ["one"]
    world.registry.log_lines.append(_line(2, "was on its way"))  # never heard live by this reader
    assert _messages(await stream.take(1)) == ["was on its way"]
    await stream.close()


async def test_lines_that_were_not_heard_are_fetched_when_the_gap_is_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = world.registry.add_workload("web", instance_id="in-1")
    monkeypatch.setattr("services.gateway.log_stream.SECOND_LOOK_S", 0.05)
    stream = Stream(world, "/v1/workloads/web/logs?follow=true")
    await _eventually(lambda: len(world.registry.log_queries) == 2)  # at the start, and once more
    await _say(world, view.id, 1, "one")
    world.registry.log_lines = [
        _line(1, "one"),
        _line(2, "two"),
        _line(3, "three"),
    ]  # 2 was lost on its way to us
    await _say(world, view.id, 3, "three")
    assert _messages(await stream.take(3)) == ["one", "three", "two"]
    await stream.close()


async def test_live_lines_are_filtered_like_stored_ones(world: World) -> None:
    view = world.registry.add_workload("web", instance_id="in-1")
    stream = Stream(world, "/v1/workloads/web/logs?follow=true&grep=error")
    await _eventually(lambda: stream.comments)
    await _say(world, view.id, 1, "fine", "error: disk", "fine")
    await _say(world, "wl-other", 1, "error: elsewhere")
    await _say(world, view.id, 4, "another error")
    assert _messages(await stream.take(2)) == ["error: disk", "another error"]
    await stream.close()


async def test_a_block_that_cannot_be_read_does_not_end_the_stream(world: World) -> None:
    view = world.registry.add_workload("web", instance_id="in-1")
    stream = Stream(world, "/v1/workloads/web/logs?follow=true")
    await _eventually(lambda: stream.comments)
    meta, _ = _block(1, "x", workload=view.id)
    await world.bus.publish(catalogue.LOG_BLOCK, meta, body=b"no zstd", node_id=NODE, workload_id=view.id)
    await _say(world, view.id, 2, "good")
    assert _messages(await stream.take(1)) == ["good"]
    await stream.close()


async def test_a_client_that_goes_away_leaves_nothing_behind(world: World) -> None:
    world.registry.add_workload("web", instance_id="in-1")
    listeners = len(world.bus.broker.listeners)
    stream = Stream(world, "/v1/workloads/web/logs?follow=true")
    await _eventually(lambda: stream.comments)
    assert len(world.bus.broker.listeners) == listeners + 1
    await stream.close()
    assert len(world.bus.broker.listeners) == listeners


async def test_following_ends_when_it_is_told_to(world: World) -> None:
    view = world.registry.add_workload("web", instance_id="in-1")
    reader = LogReader(QueryLogs(project="default", workload_ids=(view.id,)), (view,))
    ended = asyncio.Event()
    async with aclosing(follow(world.bus, SystemClock(), reader, ended=ended, quiet_s=0.01)) as lines:
        assert await anext(lines) is None
        ended.set()
        assert [line async for line in lines] == []


def test_a_bomb_of_a_block_is_refused() -> None:
    meta, _ = _block(1, "x")
    body = zstandard.ZstdCompressor().compress(b"0" * (64 * 2**20 + 1))
    with pytest.raises(Invalid):
        list(decode(meta, body, LineMatcher(QueryLogs()), workload="web", node="one", levels=False))


def test_seen_forgets_the_oldest_only() -> None:
    seen = Seen(capacity=2)
    one, two, three = (Shown("", "in-1", "c1", number, "") for number in (1, 2, 3))
    assert all(seen.first_time(line) for line in (one, two, three))
    assert not seen.first_time(three)
    assert not seen.first_time(two)
    assert seen.first_time(one)


def test_times_keep_their_microseconds() -> None:
    for time_ns in (0, 1_893_456_000_123_456_000, 999_999_999_999_000):
        assert time_ns_of(time_of(time_ns)) == time_ns


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h", "2029-12-31T23:00:00+00:00"),
        ("15m", "2029-12-31T23:45:00+00:00"),
        ("2029-06-01T12:00:00Z", "2029-06-01T12:00:00+00:00"),
        ("2029-06-01T12:00:00.5+02:00", "2029-06-01T10:00:00.500000+00:00"),
        ("2029-06-01T12:00:00.123456789Z", "2029-06-01T12:00:00.123456+00:00"),
    ],
)
def test_moments_are_read(text: str, expected: str) -> None:
    found = moment_ns(text, datetime(2030, 1, 1, tzinfo=UTC), "since")
    assert found is not None
    assert time_of(found).isoformat() == expected


async def test_a_day_that_does_not_exist_is_refused(world: World) -> None:
    world.registry.add_workload("web", instance_id="in-1")
    answer = await world.get("/v1/workloads/web/logs?since=2030-02-31T00:00:00Z")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/query/since"


# --- many workloads, pages, what was removed ---------------------------------------------------------------


async def test_everything_that_can_be_asked_reaches_the_store(world: World) -> None:
    asked = (
        "workload=web&workload=db&node=attic&instance=in-1&stream=stderr&level=warn&regex=a%2Bb&field=status%3D500"
        "&grep=x&since=1h&limit=7&page_token=12:in-1:c0ffee:3"
    )
    assert (await world.get(f"/v1/logs?{asked}")).status_code == 200
    (query,) = world.registry.log_queries
    assert query.project == "default" and query.workload_names == query.workload_ids == ("web", "db")
    assert (query.node_ids, query.instance_ids, query.stream) == (("attic",), ("in-1",), "stderr")
    assert (query.level, query.regex, query.fields, query.grep) == (
        LogLevel.WARN,
        "a+b",
        {"status": "500"},
        "x",
    )
    assert (query.limit, query.before) == (
        7,
        LogPlace(time_ns=12, instance_id="in-1", source="c0ffee", number=3),
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("regex=(", "no regular expression"),
        ("page_token=nonsense", "page_token"),
        ("field=nothing", "field"),
        ("level=loud", "level"),
        ("since=999999d", "since"),
        ("stream=stdin", "stream"),
    ],
)
async def test_what_cannot_be_asked_is_refused(world: World, asked: str, said: str) -> None:
    world.registry.add_workload("web", instance_id="in-1")
    for path in ("/v1/logs", "/v1/workloads/web/logs"):
        for more in ("", "&follow=true"):
            answer = await world.get(f"{path}?{asked}{more}")
            assert answer.status_code == 422 and said in answer.text
    assert world.registry.log_queries == []


async def test_the_place_of_the_next_page_is_told(world: World) -> None:
    # Numbers go on at microseconds since 1970 where a file's end was lost.
    world.registry.log_next = LogPlace(
        time_ns=5, instance_id="in-1", source="c1", number=1_795_000_000_000_000
    )
    answer = await world.get("/v1/logs")
    assert answer.headers["Next-Page-Token"] == "5:in-1:c1:1795000000000000"
    again = await world.get("/v1/logs?page_token=5:in-1:c1:1795000000000000")
    assert again.status_code == 200
    assert world.registry.log_queries[-1].before == world.registry.log_next


async def test_lines_of_a_removed_workload_are_found_by_its_name(world: World) -> None:
    world.registry.log_lines = [_line(1, "last words")]
    assert "last words" in (await world.get("/v1/workloads/gone/logs")).text
    assert world.registry.log_queries[-1].workload_names == ("gone",)
    world.registry.logs_known = False
    assert (await world.get("/v1/workloads/never/logs")).status_code == 404


async def test_many_workloads_are_followed_in_the_order_of_time(world: World) -> None:
    web = world.registry.add_workload("web", instance_id="in-1")
    db = world.registry.add_workload("db", instance_id="in-2")
    stream = Stream(world, "/v1/logs?follow=true")
    await _eventually(lambda: stream.comments)
    await _say(world, web.id, 1, "first of web")
    await _say(world, db.id, 2, "first of db", instance="in-2", source="c2")
    assert _messages(await stream.take(2)) == ["first of web", "first of db"]
    for first, workload, instance, source in ((8, db, "in-2", "c2"), (5, web, "in-1", "c1")):
        meta, body = _block(first, f"at {first}", instance=instance, source=source, workload=workload.id)
        await world.bus.publish(catalogue.LOG_BLOCK, meta, body=body, node_id=NODE, workload_id=workload.id)
    assert _messages(await stream.take(2)) == ["at 5", "at 8"]
    await stream.close()


async def test_of_another_project_nothing_is_followed(world: World) -> None:
    web = world.registry.add_workload("web", instance_id="in-1")
    other = world.registry.add_workload("web", project="other", instance_id="in-2")
    stream = Stream(world, "/v1/logs?follow=true")
    await _eventually(lambda: stream.comments)
    await _say(world, other.id, 1, "not yours", instance="in-2", source="c2")
    await _say(world, web.id, 1, "yours")
    assert _messages(await stream.take(1)) == ["yours"]
    await stream.close()


async def test_what_the_platform_says_of_itself_is_for_its_operators(world: World) -> None:
    world.registry.log_lines = [_line(1, "leading in term 3")]
    answer = await world.get("/v1/platform/logs?part=scheduler&part=agent&level=info")
    assert "leading in term 3" in answer.text
    (query,) = world.registry.log_queries
    assert (query.project, query.workload_names) == ("_platform", ("scheduler", "agent"))
    for role in (Role.VIEWER, Role.DEPLOYER):
        await world.add_user(role.value, {"*": role})
        assert (await world.get("/v1/platform/logs", as_=role.value)).status_code == 403
    assert (await world.get("/v1/logs?project=_platform")).status_code == 422


async def test_services_and_agents_are_followed_and_workloads_are_not(world: World) -> None:
    web = world.registry.add_workload("web", instance_id="in-1")
    stream = Stream(world, "/v1/platform/logs?follow=true")
    await _eventually(lambda: stream.comments)
    await _say(world, web.id, 1, "of a workload")
    meta, body = _block(1, "of a service", workload="registry")
    meta = meta.model_copy(update={"node_id": "platform", "project": "_platform"})
    await world.bus.publish(catalogue.SERVICE_LOG, meta, body=body, service="registry")
    assert _messages(await stream.take(1)) == ["of a service"]
    await _say(world, "agent", 1, "of an agent", source="c3")
    assert _messages(await stream.take(1)) == ["of an agent"]
    await stream.close()


async def test_what_is_nobodys_id_finds_nothing(world: World) -> None:
    for asked in ("instance=AAA", "node=A.B", "workload=No_Such"):
        assert (await world.get(f"/v1/logs?{asked}")).status_code == 200
