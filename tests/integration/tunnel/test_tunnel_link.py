"""A tunnel over real TLS sockets: bytes arrive whole and in order, each direction ends alone, and nobody slow or gone hurts the others."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from lattice.pki import create_authority, issue_service, new_private_key
from lattice.pki_files import client_context, save_chain, save_key, server_context
from lattice.tunnel_link import TunnelLink
from lattice.tunnel_stream import WINDOW_BYTES, LocalSide, TunnelStream, break_off

WAIT_S = 20.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Tunnel:
    """A public port on one side, a service on the other."""

    port: int
    edge: list[TunnelLink] = field(default_factory=list)
    agent: list[TunnelLink] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, data: bytes) -> bytes:
        """What the service answers until it ends."""
        reader, writer = await self.connect()
        writer.write(data)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    async def until(self, wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not wanted():
                await asyncio.sleep(0.01)

    @property
    def streams(self) -> int:
        return sum(link.streams for link in (*self.edge, *self.agent))


@dataclass(frozen=True)
class Tls:
    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    now, key = datetime.now(UTC), new_private_key()
    authority = create_authority(name="test", now=now).authority
    leaf = issue_service(
        authority,
        key.public_key(),
        "ingress",
        now=now,
        lifetime=timedelta(hours=1),
        ip_addresses=["127.0.0.1"],
    )
    ca, mine, secret = folder / "ca.pem", folder / "chain.pem", folder / "key.pem"
    save_key(secret, key)
    save_chain(mine, authority.chain_pem(leaf))
    save_chain(ca, authority.trust_pem)
    return Tls(
        server_context(mine, secret, client_ca_file=ca),
        client_context(ca, certificate_file=mine, key_file=secret),
    )


@asynccontextmanager
async def tunnel(tls: Tls, serve: Serve) -> AsyncIterator[Tunnel]:
    loop = asyncio.get_running_loop()
    service = await asyncio.start_server(serve, "127.0.0.1", 0)
    service_port = service.sockets[0].getsockname()[1]
    made = Tunnel(0)

    def edge_link() -> TunnelLink:
        return TunnelLink(refuse, dials=False, opened=made.edge.append)

    def public() -> LocalSide:
        stream = made.edge[0].open(b"service")
        stream.on_reset = made.refusals.append
        return LocalSide(stream)

    def accept(stream: TunnelStream, request: bytes) -> None:
        dialling.append(asyncio.create_task(dial(stream)))

    async def dial(stream: TunnelStream) -> None:
        try:
            await loop.create_connection(lambda: LocalSide(stream), "127.0.0.1", service_port)
        except OSError:
            stream.reset("nobody listens")

    dialling: list[asyncio.Task[None]] = []
    tunnels = await loop.create_server(edge_link, "127.0.0.1", 0, ssl=tls.server)
    front = await loop.create_server(public, "127.0.0.1", 0)
    made.port = front.sockets[0].getsockname()[1]
    _, link = await loop.create_connection(
        lambda: TunnelLink(accept, dials=True),
        "127.0.0.1",
        tunnels.sockets[0].getsockname()[1],
        ssl=tls.client,
    )
    made.agent.append(link)
    await made.until(lambda: bool(made.edge))
    try:
        yield made
    finally:
        for each in (*made.edge, *made.agent):
            each.close()
        for server in (front, tunnels, service):
            server.close()


def refuse(stream: TunnelStream, request: bytes) -> None:
    stream.reset("nothing is to be opened from here")


async def digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with the hash of what was sent, after its end."""
    seen = hashlib.sha256()
    while data := await reader.read(2**16):
        seen.update(data)
    writer.write(seen.digest())
    writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def test_an_answer_comes_after_the_question_has_ended(tls: Tls) -> None:
    """The half-close that TLS has not: databases' dumps and `nc` live on it."""
    async with tunnel(tls, digest) as made:
        assert await made.ask(b"question") == hashlib.sha256(b"question").digest()
        await made.until(lambda: made.streams == 0)


async def test_the_service_may_end_first(tls: Tls) -> None:
    seen = b""
    over = asyncio.Event()

    async def says_and_ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        writer.write(b"welcome")
        writer.write_eof()
        seen = await reader.read()
        over.set()
        writer.close()

    async with tunnel(tls, says_and_ends) as made:
        reader, writer = await made.connect()
        assert await reader.read() == b"welcome"
        writer.write(b"after your end")
        writer.write_eof()
        await asyncio.wait_for(over.wait(), WAIT_S)
        assert seen == b"after your end"
        writer.close()
        await made.until(lambda: made.streams == 0)


async def test_much_arrives_whole_both_ways_at_once(tls: Tls) -> None:
    block = bytes(range(256)) * 1024

    async def upload(writer: asyncio.StreamWriter) -> str:
        sent = hashlib.sha256()
        for number in range(200):
            part = number.to_bytes(4, "big") + block
            sent.update(part)
            writer.write(part)
            await writer.drain()
        writer.write_eof()
        return sent.hexdigest()

    async def download(reader: asyncio.StreamReader) -> str:
        seen = hashlib.sha256()
        while data := await reader.read(2**18):
            seen.update(data)
        return seen.hexdigest()

    async with tunnel(tls, echo) as made:
        reader, writer = await made.connect()
        sent, seen = await asyncio.wait_for(asyncio.gather(upload(writer), download(reader)), 60)
        assert sent == seen
        writer.close()


async def test_who_does_not_read_holds_up_nobody_and_no_memory(tls: Tls) -> None:
    async def pours(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(1) == b"p":
            while True:
                writer.write(b"x" * 2**20)
                await writer.drain()
        await echo(reader, writer)

    async with tunnel(tls, pours) as made:
        process, lazy = psutil.Process(), []
        gc.collect()
        before = process.memory_info().rss
        for _ in range(20):
            _, writer = await made.connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"p")
            lazy.append(writer)
        for _ in range(100):
            reader, writer = await made.connect()
            writer.write(b"ehello")
            assert await asyncio.wait_for(reader.readexactly(5), 5) == b"hello"
            writer.close()
        grown = process.memory_info().rss - before
        assert grown < 20 * 6 * WINDOW_BYTES, f"{grown / 2**20:.0f} MiB for 20 who do not read"
        for writer in lazy:
            writer.transport.abort()
        await made.until(lambda: made.streams == 0)


async def test_nothing_is_left_of_connections_that_are_over(tls: Tls) -> None:
    async with tunnel(tls, digest) as made:
        await made.ask(b"warm")
        process = psutil.Process()
        before = process.num_fds()
        answers = await asyncio.gather(*(made.ask(bytes([number])) for number in range(50)))
        assert len(set(answers)) == 50
        await made.until(lambda: process.num_fds() <= before and made.streams == 0)


async def test_who_sends_more_than_was_granted_is_cut_off(tls: Tls) -> None:
    async def never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(WAIT_S)

    async with tunnel(tls, never_reads) as made:
        stream = made.edge[0].open(b"service")
        for _ in range(16):
            stream.send(b"x" * 2**20)
        await made.until(lambda: not made.agent[0].is_open)


async def test_who_goes_away_is_told_on_the_other_side(tls: Tls) -> None:
    gone = asyncio.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionError:
            gone.set()
        finally:
            writer.close()

    async with tunnel(tls, waits) as made:
        _, writer = await made.connect()
        writer.write(b"hello")
        await made.until(lambda: made.agent[0].streams == 1)
        break_off(writer.transport)  # type: ignore[arg-type]
        await asyncio.wait_for(gone.wait(), WAIT_S)
        await made.until(lambda: made.streams == 0)


async def test_where_nobody_listens_the_client_is_let_go_with_the_reason(tls: Tls) -> None:
    async with tunnel(tls, echo) as made:
        made.agent[0]._accept = lambda stream, request: stream.reset(f"there is no {request.decode()}")
        reader, writer = await made.connect()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.readexactly(1), WAIT_S)
        assert made.refusals == ["there is no service"]
        writer.close()


async def test_a_broken_connection_ends_its_streams_at_once(tls: Tls) -> None:
    async with tunnel(tls, echo) as made:
        reader, _ = await made.connect()
        await made.until(lambda: made.agent[0].streams == 1)
        made.agent[0].close()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.readexactly(1), WAIT_S)
        assert made.streams == 0 and made.refusals == ["the tunnel's connection is gone"]


async def test_a_side_that_breaks_the_rules_is_cut_off(tls: Tls) -> None:
    async with tunnel(tls, echo) as made:
        made.agent[0]._next = 3  # numbers of the other side
        made.agent[0].open(b"x")
        await made.until(lambda: not made.edge[0].is_open)


async def test_a_sign_of_life_is_answered(tls: Tls) -> None:
    async with tunnel(tls, echo) as made:
        before = made.edge[0].heard_at
        await asyncio.sleep(0.01)
        made.edge[0].ping()
        await made.until(lambda: made.edge[0].heard_at > before)


async def test_a_stream_that_was_given_up_before_its_connection_stood_ends_it(tls: Tls) -> None:
    """A visitor who leaves at once must not leave a connection to the instance behind."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        ended.set()
        writer.close()

    async with tunnel(tls, serve) as made:
        stream = made.edge[0].open(b"service")
        stream.reset("the visitor is gone")
        async with asyncio.timeout(5):
            await ended.wait()
        await made.until(lambda: made.streams == 0)
