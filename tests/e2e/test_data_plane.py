"""What goes through a public name, on the running product: from visitors through the ingress and the tunnel of a machine that nothing can reach
from outside to a container there, and back."""

from __future__ import annotations

import asyncio
import hashlib
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from websockets.sync.client import connect

from standalone.data_dir import DataDir
from standalone.ports import read_ports
from tests.fixtures.platform import platforms, until
from tests.fixtures.reliability import Record
from tests.fixtures.remote_machine import RemoteMachine, remote_machine

MIB = 2**20
HEAD_TIMEOUT_S = 8.0
AGAIN_WITHIN_S = 10.0
SETTINGS = {"LATTICE_INGRESS_HEAD_TIMEOUT_S": f"{HEAD_TIMEOUT_S:g}"}
# The server's own port, as /proc/net/tcp writes it, and the state ESTABLISHED.
ESTABLISHED = "print(sum(line.split()[1].endswith(':1F90') and line.split()[3] == '01' for line in open('/proc/net/tcp')))"


@dataclass(frozen=True)
class Far:
    """The workload `talk` on the far machine, and how visitors reach it."""

    machine: RemoteMachine
    http_port: int
    tcp_port: int
    host: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Host": self.host}

    def url(self, path: str = "/") -> str:
        """By address: names below `localhost` are for browsers, the C library need not know them."""
        return f"http://127.0.0.1:{self.http_port}{path}"

    def tcp(self) -> socket.socket:
        """A new connection to the public port."""
        return socket.create_connection(("127.0.0.1", self.tcp_port), timeout=30)

    def answers(self) -> bool:
        """Whether a visitor who is not very patient is answered."""
        try:
            return httpx.get(self.url(), headers=self.headers, timeout=1).text == "hello"
        except httpx.TransportError:
            return False

    def answers_again(self) -> float:
        """After how many seconds it answers three visitors in a row."""
        begun_s, in_a_row = time.monotonic(), 0
        while in_a_row < 3:
            in_a_row = in_a_row + 1 if self.answers() else 0
            assert time.monotonic() - begun_s < 3 * AGAIN_WITHIN_S, "it does not answer any more"
            time.sleep(0.05)
        return time.monotonic() - begun_s

    def processes(self) -> list[psutil.Process]:
        """The ingress and the far machine's agent."""
        ingress, agent = self.machine.platform.pid("ingress"), self.machine.member.process
        assert ingress is not None and agent is not None
        own = psutil.Process(agent.pid)
        return [psutil.Process(ingress), own, *own.children(recursive=True)]

    def descriptors(self) -> int:
        """Those that both have open."""
        return sum(process.num_fds() for process in self.processes())

    def memory_mib(self) -> float:
        """What both hold."""
        return sum(process.memory_info().rss for process in self.processes()) / MIB

    def connections(self) -> int:
        """How many of HTTP the container has now."""
        (container,) = self.machine.member.containers("talk")
        name = container["Name"].lstrip("/")
        return int(self.machine.member.engine.docker("exec", name, "python3.11", "-c", ESTABLISHED))


@pytest.fixture(scope="module")
def far(image_talk: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    folder = tmp_path_factory.mktemp("far") / "far"
    with (
        platforms() as make,
        remote_machine(make, folder, name="far", images=(image_talk,), **SETTINGS) as machine,
    ):
        platform = machine.platform
        platform.ok(
            "run", image_talk, "--name", "talk", "-p", "8080", "-p", "7000/tcp", "--public", "--memory", "128Mi", "--health-http", "8080/",
            "--set", "ports.1.plaintext=true", "--set", 'placement.constraints=["node == far"]',
        )  # fmt: skip
        shown = platform.json("show", "talk")
        http, tcp = (route for route in shown["routes"] if route["public"])
        parts = urlsplit(http["url"])
        assert parts.port is not None
        far = Far(machine, parts.port, tcp["port"], parts.netloc)
        until(far.answers, what="the answer")
        yield far


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """As many for the visitors of this process as the kernel lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- kinds of traffic ----------------------------------------------------------------------------------------


def test_a_websocket_says_everything_again(far: Far) -> None:
    words = ["hello", "x" * 200, "y" * MIB]
    with (
        socket.create_connection(("127.0.0.1", far.http_port)) as connection,
        connect(f"ws://{far.host}/socket", sock=connection, max_size=2 * MIB) as websocket,
    ):
        for word in words:
            websocket.send(word)
            assert websocket.recv(timeout=20) == word
        websocket.send(b"\x00\xff")
        assert websocket.recv(timeout=20) == b"\x00\xff"


def test_events_arrive_when_they_are_told(far: Far) -> None:
    seen = []
    with httpx.stream("GET", far.url("/events"), headers=far.headers, timeout=10) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        for line in answer.iter_lines():
            if line.startswith("data:"):
                seen.append((line, time.monotonic()))
    assert [line for line, _ in seen] == [f"data: event {number}" for number in range(10)]
    assert seen[-1][1] - seen[0][1] > 1.5, "they came all at once, though one is told every 0.2 s"


def test_who_says_nothing_more_still_hears_the_answer(far: Far) -> None:
    said = b"z" * (3 * MIB)
    with far.tcp() as connection:
        connection.sendall(b"last\n" + said)
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").read().decode().strip() == hashlib.sha256(said).hexdigest()


def test_who_hears_nothing_more_may_still_speak(far: Far) -> None:
    said = b"w" * (3 * MIB)
    with far.tcp() as connection:
        connection.sendall(b"first\n")
        assert connection.makefile("rb").read() == b"that was all\n"
        connection.sendall(said)
    wanted = hashlib.sha256(said).hexdigest().encode() + b"\n"
    until(lambda: kept(far) == wanted, timeout_s=10, what="what came after the end of the other direction")


def kept(far: Far) -> bytes:
    with far.tcp() as connection:
        connection.sendall(b"kept\n")
        return connection.makefile("rb").read()


# --- much of it ----------------------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_a_large_body_arrives_whole_both_ways(far: Far, full_size: bool, record: Record) -> None:
    size_mib = 1024 if full_size else 64
    piece, sent, received = b"x" * MIB, hashlib.sha256(), hashlib.sha256()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size_mib):
            sent.update(piece)
            yield piece

    before_mib, began_s = far.memory_mib(), time.monotonic()
    headers = {**far.headers, "Content-Length": str(size_mib * MIB)}
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("POST", far.url("/body"), headers=headers, content=pieces()) as answer,
    ):
        assert answer.headers["x-digest"] == sent.hexdigest()
        async for data in answer.aiter_raw():
            received.update(data)
    took_s, grown_mib = time.monotonic() - began_s, far.memory_mib() - before_mib
    assert received.hexdigest() == hashlib.sha256(b"y" * (size_mib * MIB)).hexdigest()
    assert grown_mib < 64
    record(
        f"{size_mib} MiB up and down, through the platform to a container",
        f"whole by checksum both ways in {took_s:.0f} s; memory of ingress and agent together {grown_mib:+.0f} MiB",
    )


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_connections_at_once_leave_nothing(
    far: Far, full_size: bool, record: Record, many_descriptors: None
) -> None:
    count = 1000 if full_size else 200

    async def ask(number: int, everybody: asyncio.Barrier) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", far.tcp_port)
        for word in (b"hello", b"again"):
            writer.write(b"%s %d\n" % (word, number))
            assert await reader.readline() == b"%s %d\n" % (word.upper(), number)
            await everybody.wait()
        writer.close()
        await writer.wait_closed()

    before, before_mib = far.descriptors(), far.memory_mib()
    for _ in range(2):  # what the first round keeps for later ones is no leak
        everybody = asyncio.Barrier(count)
        async with asyncio.timeout(120):
            await asyncio.gather(*(ask(number, everybody) for number in range(count)))
        await asyncio.to_thread(
            until, lambda: far.descriptors() <= before + 4, what="the descriptors of ingress and agent"
        )
    grown_mib = far.memory_mib() - before_mib
    assert grown_mib < 64
    record(
        f"{count} connections at once, through the platform to a container",
        f"all answered, twice; no descriptor was left, memory of ingress and agent together {grown_mib:+.0f} MiB",
    )


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_visitors_who_never_finish_hold_nothing_and_hurt_nobody(
    far: Far, full_size: bool, record: Record, many_descriptors: None
) -> None:
    count = 5000 if full_size else 200
    assert far.answers()
    before, upstream = far.descriptors(), far.connections()
    with ExitStack() as slow:
        for _ in range(count):
            visitor = slow.enter_context(socket.create_connection(("127.0.0.1", far.http_port), timeout=30))
            visitor.sendall(f"GET / HTTP/1.1\r\nHost: {far.host}\r\nX-Slow: ".encode())
        times = sorted(timed(far) for _ in range(20))
        held = far.connections() - upstream
        until(lambda: far.descriptors() <= before + 4, what="the slow visitors being sent away")
    assert times[10] < 0.5
    assert held <= 1, "the instance has connections of visitors who have not finished"
    record(
        f"{count} visitors who never finish their request, through the platform to a container",
        f"others were answered in {1000 * times[10]:.0f} ms meanwhile (median of 20); the container had no connection of theirs; "
        f"all were sent away after {HEAD_TIMEOUT_S:g} s; no descriptor was left",
    )


def timed(far: Far) -> float:
    began_s = time.monotonic()
    assert httpx.get(far.url(), headers=far.headers, timeout=20).text == "hello"
    return time.monotonic() - began_s


# --- another network -----------------------------------------------------------------------------------------


def test_the_name_answers_again_after_a_change_of_address(far: Far) -> None:
    assert far.answers()
    far.machine.cable.move()
    assert far.answers_again() < AGAIN_WITHIN_S


def test_the_name_answers_again_when_a_router_forgets_its_connections(far: Far) -> None:
    assert far.answers()
    platform, cable = far.machine.platform, far.machine.cable
    tunnel = read_ports(DataDir(platform.root, platform.cluster_id))["ingress-tunnel"]
    cable.swallow(*cable.local_ports_to(tunnel))
    assert far.answers_again() < AGAIN_WITHIN_S
