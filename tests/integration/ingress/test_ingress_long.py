"""Long proofs of the ingress: large bodies, many connections, visitors who never finish.  Client, ingress, node and instance share this process, so
its memory and its descriptors are those of all of them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from lattice.contracts.spec import PortProtocol
from tests.fixtures.ingress import DOMAIN, IngressWorld, NodeTls, ingress_world, shout
from tests.fixtures.ports import free_port
from tests.fixtures.reliability import Record

MIB = 2**20
HOST = {"Host": f"web.{DOMAIN}"}

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]


@pytest.fixture
async def world(tls: NodeTls, tmp_path: Path) -> AsyncIterator[IngressWorld]:
    async with ingress_world(tls, tmp_path, head_timeout_s=6.0) as world:
        await world.add_node()
        yield world


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory_mib() -> float:
    return psutil.Process(os.getpid()).memory_info().rss / MIB


async def hashed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with the hash of what it was sent, and as much again."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    left = length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
    seen = hashlib.sha256()
    while left:
        data = await reader.read(min(left, MIB))
        seen.update(data)
        left -= len(data)
    writer.write(
        b"HTTP/1.1 200 OK\r\nX-Digest: %s\r\nContent-Length: %d\r\n\r\n" % (seen.hexdigest().encode(), length)
    )
    for _ in range(length // MIB):
        writer.write(b"y" * MIB)
        await writer.drain()
    writer.close()


async def test_a_large_body_arrives_whole_and_is_never_held(
    world: IngressWorld, full_size: bool, record: Record
) -> None:
    size_mib = 1024 if full_size else 64
    await world.route("web", await world.serve("web", hashed))

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size_mib):
            yield b"x" * MIB

    before_mib, began_s = memory_mib(), time.monotonic()
    sent, received = hashlib.sha256(), 0
    for _ in range(size_mib):
        sent.update(b"x" * MIB)
    headers = {**HOST, "Content-Length": str(size_mib * MIB)}
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("POST", world.url, headers=headers, content=pieces()) as answer,
    ):
        assert answer.headers["x-digest"] == sent.hexdigest()
        async for data in answer.aiter_raw():
            received += len(data)
    took_s, grown_mib = time.monotonic() - began_s, memory_mib() - before_mib
    assert received == size_mib * MIB
    assert grown_mib < 96
    record(
        f"{size_mib} MiB up and down through the ingress",
        f"whole by checksum in {took_s:.0f} s; memory of client, ingress, node and instance grew by {max(0, grown_mib):.0f} MiB",
    )


async def test_visitors_who_never_finish_hold_nothing_and_hurt_nobody(
    world: IngressWorld, full_size: bool, record: Record
) -> None:
    count = 5000 if full_size else 200
    await world.route("web", await world.serve("web", hashed))
    headers = {**HOST, "Content-Length": "0"}
    assert (await _post(world, headers)).status_code == 200
    process = psutil.Process(os.getpid())
    before_fds, port = process.num_fds(), world.ingress.ports[1]
    slow = []
    for _ in range(count):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET / HTTP/1.1\r\nHost: web.{DOMAIN}\r\nX-Slow: ".encode())
        slow.append(writer)
    await world.until(lambda: len(world.ingress.http._visitors) >= count, 30)
    assert not any(world.ingress.places.busy.values()), "none of them holds a connection to an instance"
    times = []
    for _ in range(20):
        began_s = time.monotonic()
        assert (await _post(world, headers)).status_code == 200
        times.append(time.monotonic() - began_s)
    assert sorted(times)[10] < 0.5
    await world.until(lambda: len(world.ingress.http._visitors) == 0, 60)
    for writer in slow:
        writer.close()
    await world.until(lambda: process.num_fds() <= before_fds + 4, 30)
    record(
        f"{count} visitors who never finish their request",
        f"others were answered in {1000 * sorted(times)[10]:.0f} ms meanwhile (median of 20); all were sent away after 6 s; no descriptor was left",
    )


async def _post(world: IngressWorld, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(timeout=20) as client:
        return await client.post(world.url, headers=headers)


async def test_connections_at_once_leave_nothing(
    world: IngressWorld, full_size: bool, record: Record
) -> None:
    count = 1000 if full_size else 300
    endpoint, port = await world.serve("db", shout), free_port()
    await world.route("db", endpoint, protocol=PortProtocol.TCP, port=port)
    await world.until(lambda: port in world.ingress.tcp.ports)
    process, together = psutil.Process(os.getpid()), asyncio.Event()

    async def ask(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello %d\n" % number)
        assert await reader.readline() == b"HELLO %d\n" % number
        await together.wait()
        writer.write(b"again %d\n" % number)
        assert await reader.readline() == b"AGAIN %d\n" % number
        writer.close()
        await writer.wait_closed()

    before_fds, before_mib = process.num_fds(), memory_mib()
    for _ in range(2):  # what the first round keeps for later ones is no leak
        together.clear()
        asking = [asyncio.create_task(ask(number)) for number in range(count)]
        await world.until(lambda: sum(world.ingress.places.busy.values()) == count, 60)
        together.set()
        await asyncio.gather(*asking)
        await world.until(lambda: not any(world.ingress.places.busy.values()), 30)
    await world.until(lambda: process.num_fds() <= before_fds + 4, 30)
    record(
        f"{count} connections at once through one port",
        f"all answered, twice; no descriptor was left, memory {memory_mib() - before_mib:+.0f} MiB",
    )
