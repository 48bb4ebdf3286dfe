"""Grafana's questions, asked of a gateway and answered by a real log store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lattice.background import Background
from lattice.contracts.catalogue import COUNT_LOGS, LIST_LOGS, LOG_BLOCK, QUERY_LOGS
from lattice.contracts.messages import LogBlock
from lattice.contracts.nouns import Role
from lattice.testing import MemoryBus
from services.logs.app import Logs
from services.logs.settings import LogsSettings
from services.logs.store import Incoming
from tests.fixtures.gateway import World, gateway_settings, running_gateway
from tests.fixtures.log_blocks import SECOND_NS, START_NS, a_block, packed

BASE = "/v1/loki/api/v1"
LINES = [
    (0, "stdout", "INFO: started"),
    (10, "stderr", 'ERROR: disk "full"'),
    (20, "stdout", '{"level":"error","status":500,"user":{"id":"u1"}}'),
    (30, "stdout", '{"level":"info","status":200,"user":{"id":"u2"}}'),
    (40, "stdout", "level=warn msg=\"slow one\" took=1200"),
    (50, "stdout", "nothing in particular"),
]  # fmt: skip
WITHIN = {"start": str(START_NS), "end": str(START_NS + 60 * SECOND_NS)}


async def store(logs: Logs, name: str, lines: list[tuple[int, str, str]], **changes: Any) -> None:
    block = block_of(lines, **changes)
    body = packed((START_NS + s * SECOND_NS, stream, text) for s, stream, text in lines)
    await logs._writer.store(Incoming(block, name, body, "attic"))


def block_of(lines: list[tuple[int, str, str]], **changes: Any) -> LogBlock:
    first, last = START_NS + lines[0][0] * SECOND_NS, START_NS + lines[-1][0] * SECOND_NS
    return a_block(1, len(lines), **{"first_at_ns": first, "last_at_ns": last, **changes})


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with (
        running_gateway(tmp_path, elsewhere=(QUERY_LOGS, COUNT_LOGS, LIST_LOGS)) as world,
        Background() as background,
    ):
        settings = LogsSettings(bus=gateway_settings(tmp_path).bus, data_dir=tmp_path / "logs")
        logs = Logs(settings, MemoryBus(world.bus.broker, identity="logs"), world.clock)
        await logs.start(background)
        await store(logs, "orders", LINES)
        other = {"workload_id": "wl-2", "instance_id": "in-2", "source": "bad", "node_id": "nd-b"}
        await store(logs, "billing", [(5, "stdout", "paid"), (25, "stdout", "ERROR: not paid")], **other)
        await store(
            logs,
            "secret",
            [(7, "stdout", "hidden")],
            project="other",
            workload_id="wl-3",
            instance_id="in-3",
            source="c3",
        )
        try:
            yield world
        finally:
            await logs.stop()


async def ask(world: World, path: str, **params: Any) -> Any:
    answer = await world.get(f"{BASE}/{path}", params={**WITHIN, **params})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def lines(world: World, query: str, **params: Any) -> list[str]:
    """The lines of all streams, in the order of time."""
    answer = await ask(world, "query_range", query=query, **params)
    assert answer["status"] == "success" and answer["data"]["resultType"] == "streams"
    found = [pair for stream in answer["data"]["result"] for pair in stream["values"]]
    return [text for _, text in sorted(found)]


async def test_a_stream_has_labels_and_nanoseconds(world: World) -> None:
    answer = await ask(world, "query_range", query='{workload="orders"} |= "disk"')
    assert answer["data"]["result"] == [
        {
            "stream": {
                "project": "default", "workload": "orders", "service_name": "orders", "node": "attic", "instance": "in-1",
                "stream": "stderr", "level": "error",
            },
            "values": [[str(START_NS + 10 * SECOND_NS), 'ERROR: disk "full"']],
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('{workload="orders"}', [0, 1, 2, 3, 4, 5]),
        ('{service_name=~"ord.*|x", stream="stderr"}', [1]),
        ('{workload!="billing"} != "level" !~ "^INFO"', [1, 5]),
        ('{workload="orders", level=~"warn|error"}', [1, 2, 4]),
        ('{workload="orders"} | detected_level="error" or detected_level="warn"', [1, 2, 4]),
        ('{workload="orders"} |= "error" |= "500"', [2]),
        ('{workload="orders"} |~ "disk|slow" != "slow"', [1]),
        ('{workload="orders"} | json | status >= 500', [2]),
        ('{workload="orders"} | json | user_id="u2"', [3]),
        ('{workload="orders"} | logfmt | took > 1000 and msg=~"slow.*"', [4]),
        ('{workload="orders", node="attic", instance="in-1", project="default"} |= "nothing"', [5]),
        ('{workload="orders", node="cellar"}', []),
        ('{workload="orders", project!="default"}', []),
        ('{workload="orders", job="x"}', []),
    ],
)
async def test_lines_are_chosen(world: World, query: str, found: list[int]) -> None:
    assert await lines(world, query) == [LINES[each][2] for each in found]


async def test_order_limit_and_the_end_that_is_no_part(world: World) -> None:
    values = (
        await ask(world, "query_range", query='{workload="orders"} !~ "xyz" | drop level, stream', limit=2)
    )["data"]["result"]
    assert [text for _, text in values[0]["values"]] == [LINES[5][2], LINES[4][2]]
    forward = await ask(
        world, "query_range", query='{workload="orders"} | drop level, stream', limit=2, direction="forward"
    )
    assert [text for _, text in forward["data"]["result"][0]["values"]] == [LINES[0][2], LINES[1][2]]
    assert await lines(world, '{workload="orders"}', start=str(START_NS / SECOND_NS + 10), end="2030-03-17T17:47:10Z") == [
        LINES[1][2], LINES[2][2]
    ]  # fmt: skip


async def test_fields_become_labels(world: World) -> None:
    answer = await ask(world, "query_range", query='{workload="orders"} | json | status=500')
    labels = answer["data"]["result"][0]["stream"]
    assert (labels["status"], labels["user_id"], labels["level"], labels["level_extracted"]) == (
        "500",
        "u1",
        "error",
        "error",
    )


async def test_the_volume_over_time_by_level(world: World) -> None:
    query = 'sum by (level, detected_level) (count_over_time({workload=~"orders|billing"} | drop __error__ [20s]))'
    answer = await ask(world, "query_range", query=query, step="20000ms")
    assert answer["data"]["resultType"] == "matrix"
    seconds = START_NS / SECOND_NS
    assert {series["metric"].get("level"): series["values"] for series in answer["data"]["result"]} == {
        None: [[seconds + 20, "1"], [seconds + 60, "1"]],
        "info": [[seconds, "1"], [seconds + 40, "1"]],
        "error": [[seconds + 20, "2"], [seconds + 40, "1"]],
        "warn": [[seconds + 40, "1"]],
    }
    assert all(
        series["metric"].get("detected_level") == series["metric"].get("level")
        for series in answer["data"]["result"]
    )


async def test_windows_longer_than_a_step_and_bytes(world: World) -> None:
    answer = await ask(
        world,
        "query_range",
        query='sum(rate({workload="orders"}[30s]))',
        step="10",
        start=str(START_NS + 30 * SECOND_NS),
    )
    assert [float(value) * 30 for _, value in answer["data"]["result"][0]["values"]] == pytest.approx(
        [3, 3, 3, 2]
    )
    answer = await ask(world, "query", query='bytes_over_time({workload="billing"}[1m])', time=WITHIN["end"])
    assert {series["metric"].get("level", ""): series["value"][1] for series in answer["data"]["result"]} == {
        "": "4", "error": "15",
    }  # fmt: skip


async def test_the_question_by_which_grafana_tells_that_somebody_is_there(world: World) -> None:
    answer = await ask(world, "query", query="vector(1)+vector(1)", time="4000000000", step="1s")
    assert answer["data"]["resultType"] == "vector"
    assert answer["data"]["result"] == [{"metric": {}, "value": [4000000000, "2"]}]
    answer = await ask(world, "query_range", query="vector(1)+vector(1)", step="30")
    assert [value for _, value in answer["data"]["result"][0]["values"]] == ["2", "2", "2"]


async def test_labels_and_their_values(world: World) -> None:
    assert (await ask(world, "labels"))["data"] == [
        "instance",
        "level",
        "node",
        "project",
        "service_name",
        "stream",
        "workload",
    ]
    for name, values in {
        "workload": ["billing", "orders"],
        "node": ["attic"],
        "project": ["default"],
        "stream": ["gap", "stderr", "stdout"],
        "x": [],
    }.items():
        assert (await ask(world, f"label/{name}/values"))["data"] == values
    assert (await ask(world, "label/service_name/values", query='{instance="in-2"}'))["data"] == ["billing"]
    assert (await ask(world, "labels", start="1000", end="2000"))["data"] == []
    series = (await ask(world, "series", **{"match[]": '{workload="orders"}'}))["data"]
    assert series == [
        {
            "project": "default",
            "workload": "orders",
            "service_name": "orders",
            "node": "attic",
            "instance": "in-1",
        }
    ]
    assert len((await ask(world, "series"))["data"]) == 2


async def test_what_drilldown_asks(world: World) -> None:
    stats = await ask(world, "index/stats", query='{workload="orders"}')
    assert (stats["streams"], stats["chunks"], stats["entries"]) == (1, 1, 6) and stats["bytes"] > 0
    volume = await ask(
        world, "index/volume", query='{service_name=~".+"}', targetLabels="service_name", limit=1
    )
    assert [series["metric"] for series in volume["data"]["result"]] == [{"service_name": "orders"}]
    found = {
        each["label"]: each["cardinality"] for each in (await ask(world, "detected_labels"))["detectedLabels"]
    }
    assert found["workload"] == 2 and found["level"] == 6
    fields = {
        each["label"] for each in (await ask(world, "detected_fields", query='{workload="orders"}'))["fields"]
    }
    assert {"status", "user_id", "took", "msg"} <= fields
    assert (await ask(world, "patterns", query="{}"))["data"] == []
    assert (await ask(world, "format_query", query=' {a="b"} '))["data"] == '{a="b"}'
    assert "version" in await ask(world, "status/buildinfo")


@pytest.mark.parametrize(
    ("path", "params", "said"),
    [
        ("query_range", {"query": '{a="b"'}, "parse error at line 1, col 7"),
        ("query_range", {}, "query is missing"),
        ("query_range", {"query": '{workload="orders"} |~ "("'}, "no regular expression"),
        ("query_range", {"query": '{a="b"} | json | status > "x"'}, "which is no number"),
        ("query_range", {"query": '{a="b"} | level="error" or workload="x"'}, "cannot be alternatives"),
        ("query_range", {"query": '{a="b"}', "start": "yesterday"}, "start=yesterday is no time"),
        ("query_range", {"query": '{a="b"}', "limit": "x"}, "/query/limit"),
        ("query_range", {"query": 'rate({a="b"}[1m])', "step": "0"}, "step=0"),
        ("query_range", {"query": 'rate({a="b"}[1m])', "step": "0.001"}, "more than 11000"),
        ("query_range", {"query": 'rate({a="b"}[1m])', "end": "5"}, "ends before it begins"),
        ("format_query", {"query": "topk(5, x)"}, "'topk' is not supported"),
        ("labels", {"query": 'rate({a="b"}[1m])'}, "lines are asked for here"),
    ],
)
async def test_refusals_are_plain_text(world: World, path: str, params: dict[str, str], said: str) -> None:
    answer = await world.get(f"{BASE}/{path}", params={**WITHIN, **params})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert said in answer.text


async def test_the_project_is_the_tenant_and_needs_a_right(world: World) -> None:
    await world.add_user("ann", {"default": Role.VIEWER})

    async def seen(as_: str, **headers: str) -> tuple[int, list[str]]:
        answer = await world.get(f"{BASE}/label/workload/values", as_=as_, params=WITHIN, headers=headers)
        return answer.status_code, answer.json()["data"] if answer.status_code == 200 else []

    assert await seen("ann") == (200, ["billing", "orders"])
    assert await seen("admin", **{"X-Scope-OrgID": "other"}) == (200, ["secret"])
    assert await seen("admin", **{"X-Scope-OrgID": "*"}) == (200, ["billing", "orders", "secret"])
    assert await seen("ann", **{"X-Scope-OrgID": "other"}) == (404, [])
    assert await seen("ann", **{"X-Scope-OrgID": "*"}) == (403, [])
    assert await seen("ann", **{"X-Scope-OrgID": "a|b"}) == (400, [])
    refused = await world.client.get(f"{BASE}/labels")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")


class Socket:
    """A client of `tail`; the application is called directly."""

    def __init__(self, world: World, query: str, as_: str = "admin") -> None:
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "websocket.connect"})
        self.sent: asyncio.Queue[Any] = asyncio.Queue()
        headers = [(name.lower().encode(), value.encode()) for name, value in world.headers(as_).items()]
        asked = str(httpx.QueryParams({"query": query, "start": str(START_NS), "delay_for": "0"}))
        scope = {
            "type": "websocket", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "wss", "path": f"{BASE}/tail",
            "raw_path": f"{BASE}/tail".encode(), "query_string": asked.encode(),
            "root_path": "", "headers": headers, "client": ("1.2.3.4", 1), "server": ("h", 1), "subprotocols": [], "extensions": {},
        }  # fmt: skip
        self.task = asyncio.create_task(world.app(scope, self._incoming.get, self.sent.put))

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            return dict(await self.sent.get())

    async def leave(self) -> None:
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        async with asyncio.timeout(10):
            await self.task


async def test_tail_sends_what_is_stored_and_what_comes(world: World) -> None:
    view = world.registry.add_workload("orders")
    instance = view.instances[0]
    socket = Socket(world, '{workload="orders", level="error"}')
    assert (await socket.next())["type"] == "websocket.accept"
    told = [json.loads((await socket.next())["text"]) for _ in range(2)]
    assert [each["streams"][0]["values"][0][1] for each in told] == [LINES[1][2], LINES[2][2]]
    fresh = [(100, "stderr", "ERROR: again"), (101, "stderr", "INFO: better")]
    block = block_of(
        fresh, workload_id=view.id, instance_id=instance.id, node_id=instance.node_id, source="c9"
    )
    body = packed((START_NS + s * SECOND_NS, stream, text) for s, stream, text in fresh)
    await world.bus.append(
        LOG_BLOCK, block, msg_id="x", body=body, node_id=block.node_id, workload_id=view.id
    )
    (stream,) = json.loads((await socket.next())["text"])["streams"]
    assert (stream["values"], stream["stream"]["workload"]) == (
        [[str(START_NS + 100 * SECOND_NS), "ERROR: again"]],
        "orders",
    )
    await socket.leave()


async def test_tail_refuses_before_it_opens(world: World) -> None:
    socket = Socket(world, "rate(")
    assert (await socket.next())["type"] == "websocket.close"
    await socket.task
