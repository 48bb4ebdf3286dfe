"""G7: durable publishing through Lattice's client against nats-py's `publish_async`, over TLS, facts of about 300 bytes.

Ours writes models, with all headers; the peer gets ready-made bytes and one header.  Twice: with the server's default of flushing now and
then, and with `sync_interval: always`, as Lattice runs it.  `python -m bench.g7_publish`
"""

from __future__ import annotations

import itertools
import os
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import uvloop
from nats.aio.client import Client, RawCredentials

from bench.harness import Comparison, compare
from lattice.bus import NatsBus
from lattice.contracts import messages as m
from lattice.contracts.catalogue import FACT
from lattice.contracts.streams import EVENTS
from lattice.contracts.subjects import Address
from lattice.messaging import Outgoing
from lattice.settings import BusSettings
from standalone import nats_server as server_module
from tests.fixtures.nats import BusIdentity, NatsServer, make_nats_server

GOAL = 5.0
AT = datetime(2030, 1, 1, tzinfo=UTC)
OURS, PEER = "Lattice append_all", "nats-py publish_async"
MESSAGES = {"default": 10_000, "always": 3_000}
_ALWAYS = "  sync_interval: always\n"
_numbers = itertools.count()

STREAM = replace(EVENTS, name="BENCH", subjects=("lattice.bench.*.*",), max_bytes=2**30)
CHANNEL = replace(FACT, address=Address("lattice.bench.{project}.{verb}"), stream=STREAM)
TOKENS = {"project": "shop", "verb": "created"}


def fact(seq: int) -> m.Fact:
    return m.Fact(
        seq=seq, id=f"fa-{seq:026}", project="shop", entity="workload", verb="created", entity_id=f"wl-{seq:026}",
        entity_name="orders-db", actor="us-1", operation_id=f"op-{seq:026}", at=AT,
    )  # fmt: skip


@lru_cache(maxsize=8)
def facts(count: int) -> list[m.Fact]:
    """Made once, in the warm-up: what is measured is publishing, and making a model costs more than writing it."""
    return [fact(seq) for seq in range(count)]


@lru_cache(maxsize=8)
def payloads(count: int) -> list[bytes]:
    return [each.model_dump_json().encode() for each in facts(count)]


async def ours(bus: NatsBus, count: int) -> int:
    outgoing = [Outgoing(CHANNEL, each, f"ours:{next(_numbers)}", TOKENS) for each in facts(count)]
    return len(await bus.append_all(outgoing))


async def peer(client: Client, count: int) -> int:
    stream = client.jetstream(publish_async_max_pending=4096)
    for payload in payloads(count):
        await stream.publish_async(
            "lattice.bench.shop.created",
            payload,
            headers={"Nats-Msg-Id": f"peer:{next(_numbers)}"},
            wait_stall=60,
        )
    await stream.publish_async_completed()
    return count


async def measure(sync: str) -> Comparison:
    """One server with this kind of flushing, and both clients on it."""
    with tempfile.TemporaryDirectory() as folder:
        server = make_nats_server(Path(folder))
        start(server, sync)
        try:
            return await _measure(server, MESSAGES[sync])
        finally:
            server.kill()


def start(server: NatsServer, sync: str) -> None:
    if sync == "default":
        rendered = server_module.render(server.config)
        assert _ALWAYS in rendered, "the configuration changed: say how to flush seldom"
        server_module.render = lambda config: rendered.replace(_ALWAYS, "")  # for this process only
    server.start()


async def _measure(server: NatsServer, count: int) -> Comparison:
    who = server.service("registry")
    client = Client()
    await client.connect(
        server.url, tls=who.tls, tls_handshake_first=True, user_credentials=RawCredentials(who.credentials)
    )
    async with NatsBus(settings(server, who), identity="registry") as bus:
        await bus._link.wait_up()
        await bus.ensure_topology([STREAM], [])
        assert server.process is not None
        result = await compare(
            {OURS: lambda: ours(bus, count), PEER: lambda: peer(client, count)}, own_pids=[server.process.pid]
        )
    await client.close()
    return result


def settings(server: NatsServer, who: BusIdentity) -> BusSettings:
    return BusSettings(
        urls=[server.url], ca_file=who.ca_file, cert_file=who.certificate_file, key_file=who.key_file,
        creds_file=who.credentials_file, server_name="localhost",
    )  # fmt: skip


def report(sync: str, result: Comparison) -> list[str]:
    ratio = result.ratio(OURS, PEER)
    verdict = "reached" if ratio >= GOAL else "not reached"
    return [
        f"### G7 durable publishing, flush {sync}: {ratio:.1f} times {PEER} (goal {GOAL:g}: {verdict})",
        "",
        *result.lines(PEER),
        "",
    ]


def main() -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for sync in (
        "always",
        "default",
    ):  # in this order, because "default" changes how a configuration is written
        print("\n".join(report(sync, uvloop.run(measure(sync)))))


if __name__ == "__main__":
    main()
