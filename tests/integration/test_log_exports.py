"""Lines go from the log store to real receivers: all of them, through refusals, outages and restarts, and never past a wrong certificate."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard
from loguru import logger

from lattice import pki
from lattice.background import Background
from lattice.clock import SystemClock
from lattice.metrics.instruments import REGISTRY
from lattice.settings import BusSettings
from lattice.testing import MemoryBus
from lattice.testing.broker import MemoryBroker
from services.logs.app import Logs
from services.logs.exporting import exporter
from services.logs.exporting.sinks import Sink
from services.logs.settings import LogsSettings
from tests.fixtures.log_blocks import START_NS, incoming, text_of
from tests.fixtures.sinks import HttpSink, SyslogSink

NOWHERE = BusSettings(
    urls=["tls://nowhere:1"], ca_file=Path(), cert_file=Path(), key_file=Path(), creds_file=Path()
)


@dataclass
class World:
    """A log store with one sink."""

    folder: Path
    sink: dict[str, Any]

    @asynccontextmanager
    async def logs(self, **changes: Any) -> AsyncIterator[Logs]:
        sinks = (Sink.model_validate({"every_s": 0.02, **self.sink}),)
        settings = LogsSettings(bus=NOWHERE, data_dir=self.folder / "logs", exports=sinks, **changes)
        logs = Logs(settings, MemoryBus(MemoryBroker(SystemClock()), identity="logs"))
        try:
            async with Background() as background:
                await logs.start(background)
                yield logs
        finally:
            await logs.stop()


async def store(logs: Logs, first: int, last: int, **changes: Any) -> None:
    await logs._writer.store(incoming(first, last, **changes))


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not what():
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "_LONGEST_PAUSE_S", 0.05)


def counted(name: str, sink: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"lattice_logs_{name}", {"sink": sink, **labels}) or 0.0


def webhook(port: int, **more: Any) -> dict[str, Any]:
    return {"kind": "webhook", "url": f"http://127.0.0.1:{port}/in", **more}


def numbers(sink: HttpSink) -> list[int]:
    return [json.loads(text)["number"] for request in sink.requests for text in request.body.splitlines()]


async def test_loki_gets_what_is_stored_with_its_headers(tmp_path: Path) -> None:
    async with HttpSink().running() as sink:
        told = {
            "kind": "loki",
            "url": f"http://127.0.0.1:{sink.port}/loki/api/v1/push",
            "headers": {"Authorization": "Bearer x"},
            "projects": ["default"],
        }
        async with World(tmp_path, told).logs() as logs:
            await store(logs, 1, 3)
            await store(logs, 1, 3, project="other", workload_id="wl-2", source="bad")
            await until(lambda: bool(sink.requests))
        (request,) = sink.requests
    assert (request.method, request.path) == ("POST", "/loki/api/v1/push")
    assert {name: request.headers[name] for name in ("authorization", "content-type", "content-encoding")} == {
        "authorization": "Bearer x", "content-type": "application/json", "content-encoding": "gzip",
    }  # fmt: skip
    (stream,) = json.loads(request.body)["streams"]
    assert stream["stream"] == {
        "project": "default", "workload": "orders", "service_name": "orders", "node": "nd-a", "instance": "in-1", "stream": "stdout",
    }  # fmt: skip
    assert stream["values"] == [[str(START_NS + n * 10**9), text_of(n)] for n in (1, 2, 3)]


async def test_otlp(tmp_path: Path) -> None:
    async with (
        HttpSink().running() as sink,
        World(tmp_path, {"kind": "otlp", "url": f"http://127.0.0.1:{sink.port}/v1/logs"}).logs() as logs,
    ):
        await store(logs, 1, 2)
        await until(lambda: bool(sink.requests))
    (resource,) = json.loads(sink.requests[0].body)["resourceLogs"]
    assert [record["body"]["stringValue"] for record in resource["scopeLogs"][0]["logRecords"]] == [
        "line 1",
        "line 2",
    ]


async def test_a_sink_that_is_away_catches_up_and_ingest_does_not_wait(tmp_path: Path) -> None:
    sink = HttpSink()
    world = World(tmp_path, webhook(sink.port))
    name = Sink.model_validate(world.sink).name
    async with world.logs() as logs:
        await store(logs, 1, 100)
        await until(lambda: counted("export_failures_total", name) > 2)
        for first in range(101, 1001, 100):
            await store(logs, first, first + 99)
        sink.statuses = [503, 429, 401]
        async with sink.running():
            await until(lambda: len(numbers(sink)) >= 1000)
            await until(lambda: counted("export_lag_seconds", name) == 0)
    assert sorted(numbers(sink)) == list(range(1, 1001))
    assert counted("exported_lines_total", name) == 1000


async def test_a_restart_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    sink = HttpSink()
    world = World(tmp_path, webhook(sink.port))
    name = Sink.model_validate(world.sink).name
    async with world.logs() as logs:
        async with sink.running():
            await store(logs, 1, 3000)
            await until(lambda: len(sink.requests) >= 1)
        await store(logs, 5001, 5010)  # before what comes between
    async with world.logs() as logs, sink.running():
        await store(logs, 3001, 5000)
        await until(lambda: set(numbers(sink)) == set(range(1, 5011)))
        # What the sink has and has not yet said that it has would be sent once more.
        await until(lambda: counted("export_lag_seconds", name) == 0)
        before = len(numbers(sink))
    async with world.logs() as logs, sink.running():
        await store(logs, 5011, 5011)
        await until(lambda: 5011 in numbers(sink))
    assert len(numbers(sink)) == before + 1


async def test_what_a_sink_will_never_take_is_left_out_and_counted(tmp_path: Path) -> None:
    async with HttpSink(statuses=[400]).running() as sink:
        world = World(tmp_path, webhook(sink.port))
        name = Sink.model_validate(world.sink).name
        async with world.logs() as logs:
            await store(logs, 1, 2)
            await until(lambda: counted("export_lost_lines_total", name, reason="refused") == 2)
            await store(logs, 3, 4)
            await until(lambda: numbers(sink) == [3, 4])


async def test_what_retention_lets_go_is_lost_and_counted(tmp_path: Path) -> None:
    world = World(tmp_path, webhook(HttpSink().port))  # nobody is there
    name = Sink.model_validate(world.sink).name
    async with world.logs(max_age_s=0.05, retention_every_s=0.05) as logs:
        await store(logs, 1, 7)
        await until(lambda: counted("export_lost_lines_total", name, reason="retention") == 7)


async def test_secrets_are_not_logged(tmp_path: Path) -> None:
    said: list[str] = []
    handle = logger.add(lambda message: said.append(str(message)), level="TRACE")
    try:
        async with World(tmp_path, webhook(HttpSink().port, headers={"X-Key": "hidden-1"})).logs() as logs:
            await store(logs, 1, 1)
            await until(lambda: any("tried again" in text for text in said))
    finally:
        logger.remove(handle)
    assert not any("hidden-1" in text for text in said)


@dataclass(frozen=True)
class Certificates:
    """A server's, and the CA that it is from."""

    tls: ssl.SSLContext
    ca_file: Path


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    now, key = datetime.now(UTC), pki.new_private_key()
    authority = pki.create_authority(name="sinks", now=now).authority
    leaf = pki.issue_workload(
        authority, key.public_key(), "sink", now=now, lifetime=timedelta(hours=1), dns_names=["localhost"], ip_addresses=["127.0.0.1"]
    )  # fmt: skip
    for name, content in (
        ("chain.pem", authority.chain_pem(leaf)),
        ("key.pem", pki.key_pem(key)),
        ("ca.pem", authority.trust_pem),
    ):
        (tmp_path / name).write_bytes(content)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    return Certificates(tls, tmp_path / "ca.pem")


@pytest.mark.parametrize("over_tls", [False, True])
async def test_syslog(tmp_path: Path, certificates: Certificates, over_tls: bool) -> None:
    sink = SyslogSink(tls=certificates.tls if over_tls else None)
    told: dict[str, Any] = {
        "kind": "syslog",
        "url": f"{'tls' if over_tls else 'tcp'}://localhost:{sink.port}",
    }
    async with World(tmp_path, told | ({"ca_file": certificates.ca_file} if over_tls else {})).logs() as logs:
        async with sink.running():
            await store(logs, 1, 2)
            await until(lambda: len(sink.messages) == 2)
        async with sink.running():  # the connection broke meanwhile
            await store(logs, 3, 3)
            await until(lambda: len(sink.messages) == 3)
    assert sink.messages[0] == (
        '<134>1 2030-03-17T17:46:41.000000Z nd-a orders in-1 stdout [lattice@32473 project="default" source="c0ffee" number="1"] line 1'
    )


@pytest.mark.parametrize("kind", ["syslog", "webhook"])
async def test_a_certificate_that_nobody_vouches_for_is_refused(
    tmp_path: Path, certificates: Certificates, kind: str
) -> None:
    sink: HttpSink | SyslogSink = (
        HttpSink(tls=certificates.tls) if kind == "webhook" else SyslogSink(tls=certificates.tls)
    )
    world = World(
        tmp_path, {"kind": kind, "url": f"{'https' if kind == 'webhook' else 'tls'}://localhost:{sink.port}"}
    )
    name = Sink.model_validate(world.sink).name
    async with sink.running(), world.logs() as logs:
        await store(logs, 1, 1)
        await until(lambda: counted("export_failures_total", name) > 1)
    assert not (sink.requests if isinstance(sink, HttpSink) else sink.messages)
    trusted = World(tmp_path, {**world.sink, "ca_file": certificates.ca_file})
    async with sink.running(), trusted.logs():
        await until(lambda: bool(sink.requests if isinstance(sink, HttpSink) else sink.messages))


async def test_objects_in_a_bucket(tmp_path: Path) -> None:
    async with HttpSink(statuses=[503]).running() as sink:
        told = {
            "kind": "s3", "url": "s3://archive/lattice", "s3_endpoint": f"http://127.0.0.1:{sink.port}", "s3_region": "here",
            "s3_access_key_id": "id", "s3_secret_access_key": "hidden-1",
        }  # fmt: skip
        async with World(tmp_path, told).logs() as logs:
            await store(logs, 1, 3)
            await until(lambda: bool(sink.requests))
    request = sink.requests[0]
    assert request.method == "PUT" and request.path.startswith(
        "/archive/lattice/default/orders/2030/03/17/174641-"
    )
    assert "Credential=id/" in request.headers["authorization"]
    unpacked = zstandard.ZstdDecompressor().decompress(request.body)
    assert [json.loads(text)["message"] for text in unpacked.splitlines()] == ["line 1", "line 2", "line 3"]


async def test_what_is_rewritten_meanwhile_is_still_sent(tmp_path: Path) -> None:
    """The store packs closed segments anew: their blocks go, and their lines stay."""
    sink = HttpSink()
    async with World(tmp_path, webhook(sink.port)).logs(segment_bytes=1, pack_every_s=0.02) as logs:
        for first in range(1, 41):
            await store(logs, first, first)
        await until(
            lambda: any(segment.closed and segment.index_bytes for segment, _ in logs.store.index.segments())
        )
        async with sink.running():
            await until(lambda: set(numbers(sink)) == set(range(1, 41)))
