"""The gateway behind its real HTTPS listener: TLS, streams and terminals over sockets, and how it ends."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lattice import pki, pki_files
from lattice.contracts import catalogue
from lattice.contracts.messages import ExecRequest, ExecStarted, SessionFrame, SessionFrameKind
from lattice.contracts.nouns import Role
from lattice.messaging import Received
from lattice.renewing_tls import RenewingTls
from services.gateway import exec_session
from services.gateway.listener import listening
from tests.fixtures.gateway import NODE, World, running_gateway

SOON_S = 10


@dataclass
class Served:
    """A gateway that listens."""

    world: World
    port: int
    ca_file: Path
    authority: pki.Authority

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def client(self, as_: str = "admin") -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url, headers=self.world.headers(as_), verify=pki_files.client_context(self.ca_file), timeout=SOON_S
        )  # fmt: skip

    def terminal(self, name: str = "web", *, as_: str | None = "admin", **more: Any) -> connect:
        """A socket to the workload's terminal."""
        return connect(
            f"wss://127.0.0.1:{self.port}/v1/workloads/{name}/exec",
            ssl=pki_files.client_context(self.ca_file),
            additional_headers=self.world.headers(as_),
            **more,
        )


def _write_certificate(folder: Path, authority: pki.Authority) -> int:
    key = pki.new_private_key()
    leaf = pki.issue_service(
        authority, key.public_key(), "gateway", now=datetime.now(UTC), lifetime=timedelta(days=1),
        dns_names=["localhost"], ip_addresses=["127.0.0.1"],
    )  # fmt: skip
    pki_files.save_key(folder / "key.pem", key)
    pki_files.save_chain(folder / "cert.pem", authority.chain_pem(leaf))
    return leaf.serial_number


@asynccontextmanager
async def _serving(folder: Path) -> AsyncIterator[Served]:
    authority = pki.create_authority(name="test", now=datetime.now(UTC)).authority
    _write_certificate(folder, authority)
    async with running_gateway(folder, port=0, tls_reload_s=0.05) as world:
        (folder / "ca.pem").write_bytes(authority.trust_pem)
        world.app.router.lifespan_context = _already_running
        async with listening(
            world.app, world.settings, end_streams=world.app.state.gateway.streams.end_all
        ) as port:
            yield Served(world, port, folder / "ca.pem", authority)


@asynccontextmanager
async def _already_running(_: object) -> AsyncIterator[None]:
    yield


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with _serving(tmp_path) as served:
        served.world.registry.add_node()
        yield served


async def _presented_serial(served: Served) -> int:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", served.port, ssl=pki_files.client_context(served.ca_file)
    )
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    del reader
    return x509.load_der_x509_certificate(found).serial_number


# ---------------------------------------------------------------- TLS


async def test_it_answers_over_tls_13_with_its_ca(served: Served) -> None:
    async with served.client() as client:
        answer = await client.get("/v1/nodes")
        assert [node["name"] for node in answer.json()["items"]] == ["one"]
        assert "server" not in answer.headers
        assert (await client.get("/v1/ca")).content == served.authority.trust_pem


async def test_older_tls_and_strangers_are_refused(served: Served) -> None:
    old = pki_files.client_context(served.ca_file)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", served.port, ssl=old)
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection("127.0.0.1", served.port, ssl=ssl.create_default_context())


async def test_plaintext_gets_nothing(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET /v1/nodes HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        said = await asyncio.wait_for(reader.read(), SOON_S)
    except ConnectionError:
        said = b""
    assert b"HTTP" not in said
    writer.close()


async def test_a_renewed_certificate_is_used_without_a_restart(served: Served) -> None:
    before = await _presented_serial(served)
    async with served.client() as client:
        assert (await client.get("/healthz")).status_code == 200
        renewed = _write_certificate(served.world.settings.tls_cert_file.parent, served.authority)
        async with asyncio.timeout(SOON_S):
            while await _presented_serial(served) == before:
                await asyncio.sleep(0.05)
        assert await _presented_serial(served) == renewed
        assert (await client.get("/healthz")).status_code == 200  # the open connection goes on


async def test_a_half_written_renewal_keeps_the_old_certificate(served: Served) -> None:
    before = await _presented_serial(served)
    tls = RenewingTls(served.world.settings.tls_cert_file, served.world.settings.tls_key_file)
    pki_files.save_key(served.world.settings.tls_key_file, pki.new_private_key())
    assert not tls.look()
    await asyncio.sleep(5 * served.world.settings.tls_reload_s)  # the listener looks, too
    assert await _presented_serial(served) == before
    renewed = _write_certificate(served.world.settings.tls_cert_file.parent, served.authority)
    assert tls.look()
    async with asyncio.timeout(SOON_S):
        while await _presented_serial(served) != renewed:
            await asyncio.sleep(0.05)


# ---------------------------------------------------------------- streams


async def test_events_flow_and_end_when_the_gateway_ends(tmp_path: Path) -> None:
    lines: list[str] = []
    async with _serving(tmp_path) as served:
        served.world.registry.add_fact()

        async def read() -> None:
            async with (
                served.client() as client,
                client.stream("GET", "/v1/events?after=0&follow=true") as answer,
            ):
                assert answer.headers["Content-Type"].startswith("text/event-stream")
                async for line in answer.aiter_lines():
                    lines.append(line)

        reading = asyncio.create_task(read())
        async with asyncio.timeout(SOON_S):
            while "id: 1" not in lines:
                await asyncio.sleep(0.01)
    await asyncio.wait_for(reading, SOON_S)


async def test_a_reader_that_goes_away_is_let_go(served: Served) -> None:
    served.world.registry.add_workload("web")
    listeners = served.world.bus.broker.listeners
    before = len(listeners)
    async with served.client() as client:
        async with client.stream("GET", "/v1/workloads/web/logs?follow=true") as answer:
            await anext(answer.aiter_bytes())
            assert len(listeners) == before + 1
        async with asyncio.timeout(SOON_S):
            while len(listeners) > before:
                await asyncio.sleep(0.01)


# ---------------------------------------------------------------- terminal


class StubAgent:
    """Answers a command as a node would: it echoes its input and exits when it is told to."""

    def __init__(self, world: World) -> None:
        self.bus = world.bus
        self.requests: list[ExecRequest] = []
        self.frames: list[SessionFrame] = []
        self._number = 0

    async def start(self) -> None:
        await self.bus.serve(catalogue.EXEC, self._exec, node_id=NODE)
        await self.bus.subscribe(catalogue.SESSION_IN, self._heard, node_id=NODE)

    async def _exec(self, request: ExecRequest) -> ExecStarted:
        self.requests.append(request)
        await self.say(SessionFrameKind.STDOUT, b"ready\n")
        return ExecStarted(session_id=request.session_id)

    async def _heard(self, received: Received[SessionFrame]) -> None:
        self.frames.append(received.message)
        if received.message.kind is not SessionFrameKind.STDIN:
            return
        if received.body == b"exit":
            await self.say(SessionFrameKind.EXIT, b"", exit_code=7)
        else:
            await self.say(SessionFrameKind.STDERR, received.body)

    async def say(self, kind: SessionFrameKind, body: bytes, **more: Any) -> None:
        self._number += 1
        session_id = self.requests[-1].session_id
        frame = SessionFrame(session_id=session_id, kind=kind, number=self._number, **more)
        await self.bus.publish(catalogue.SESSION_OUT, frame, body=body, node_id=NODE, session_id=session_id)


@pytest.fixture
async def agent(served: Served) -> StubAgent:
    served.world.registry.add_workload("web")
    agent = StubAgent(served.world)
    await agent.start()
    return agent


async def _next(socket: ClientConnection) -> str | bytes:
    return await asyncio.wait_for(socket.recv(), SOON_S)


async def _until_closed(socket: ClientConnection) -> tuple[list[Any], int]:
    messages: list[Any] = []
    try:
        while True:
            messages.append(await _next(socket))
    except ConnectionClosed:
        return messages, socket.close_code or 0


async def test_a_terminal_carries_bytes_both_ways_and_the_exit_code(served: Served, agent: StubAgent) -> None:
    async with served.terminal() as socket:
        await socket.send(
            json.dumps({"argv": ["sh", "-i"], "tty": True, "stdin": True, "rows": 40, "columns": 120})
        )
        first = [await _next(socket), await _next(socket)]
        assert b"\x01ready\n" in first
        assert json.loads(next(item for item in first if isinstance(item, str)))["type"] == "started"
        await socket.send(b"\x00hello \xff")
        assert await _next(socket) == b"\x02hello \xff"
        await socket.send(json.dumps({"type": "resize", "rows": 50, "columns": 100}))
        await socket.send(b"\x00exit")
        messages, code = await _until_closed(socket)
    assert json.loads(messages[-1]) == {"type": "exit", "exit_code": 7, "error": ""}
    assert code == 1000
    request = agent.requests[0]
    assert (request.argv, request.tty, request.key.epoch) == (("sh", "-i"), True, 3)
    assert request.size is not None
    assert (request.size.rows, request.size.columns) == (40, 120)
    assert [frame.number for frame in agent.frames] == list(range(1, len(agent.frames) + 1))
    resized = next(frame for frame in agent.frames if frame.kind is SessionFrameKind.RESIZE)
    assert resized.size is not None
    assert resized.size.columns == 100


async def test_a_terminal_is_in_the_audit_before_it_starts(served: Served, agent: StubAgent) -> None:
    async with served.terminal() as socket:
        await socket.send(json.dumps({"argv": ["id"]}))
        await _next(socket)
        assert served.world.registry.audit[0].action == "workload.exec"
        assert served.world.registry.callers[-1].actor == "user:admin"


async def test_without_a_trace_there_is_no_terminal(
    served: Served, agent: StubAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = served.world.bus.broker.servers
    servers[:] = [server for server in servers if server.pattern != catalogue.RECORD_AUDIT.address.pattern()]
    async with served.terminal() as socket:
        await socket.send(json.dumps({"argv": ["id"]}))
        messages, _ = await _until_closed(socket)
    assert json.loads(messages[-1])["code"] == "temporary"
    assert agent.requests == []


async def test_a_browser_sends_its_token_as_a_subprotocol(served: Served, agent: StubAgent) -> None:
    protocols = ["lattice.exec.v1", f"lattice.bearer.{served.world.tokens['admin']}"]
    async with served.terminal(as_=None, subprotocols=protocols) as socket:
        assert socket.subprotocol == "lattice.exec.v1"
        await socket.send(json.dumps({"argv": ["id"]}))
        assert await _next(socket)


@pytest.mark.parametrize(("role", "status"), [(None, 404), (Role.VIEWER, 403), (Role.DEPLOYER, 403)])
async def test_a_terminal_needs_an_operator(
    served: Served, agent: StubAgent, role: Role | None, status: int
) -> None:
    await served.world.add_user("ada", {} if role is None else {"default": role})
    with pytest.raises(InvalidStatus) as refused:
        async with served.terminal(as_="ada"):
            pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"")["status"] == status
    assert agent.requests == []


@pytest.mark.parametrize(
    ("role", "query", "status", "said"),
    [
        (Role.VIEWER, "?port=8080", 403, "needs the role deployer"),
        (Role.DEPLOYER, "", 422, "Say which port"),
        (Role.DEPLOYER, "?port=8080&slot=x", 422, "slot is the number"),
        (Role.DEPLOYER, "?port=8080&host=elsewhere", 422, "host"),
        (Role.DEPLOYER, "?port=9", 404, "web has no port 9"),
        (Role.DEPLOYER, "?port=8080", 503, "This platform has no ingress"),
    ],
)
async def test_a_connection_to_a_port_is_refused_with_words(
    served: Served, agent: StubAgent, role: Role, query: str, status: int, said: str
) -> None:
    await served.world.add_user("ada", {"default": role})
    url = f"wss://127.0.0.1:{served.port}/v1/workloads/web/forward{query}"
    with pytest.raises(InvalidStatus) as refused:
        async with connect(
            url, ssl=pki_files.client_context(served.ca_file), additional_headers=served.world.headers("ada")
        ):
            pass
    answer = json.loads(refused.value.response.body or b"")
    assert refused.value.response.status_code == status and said in answer["detail"]


async def test_a_terminal_without_a_token_or_workload_is_refused(served: Served, agent: StubAgent) -> None:
    for as_, name, status in ((None, "web", 401), ("admin", "other", 404)):
        with pytest.raises(InvalidStatus) as refused:
            async with served.terminal(name, as_=as_):
                pass
        assert refused.value.response.status_code == status


@pytest.mark.parametrize(
    "first",
    [
        "{",
        "{}",
        '{"argv": []}',
        '{"argv": ["a"], "slot": 9}',
        '{"argv": ["a"], "user": "root"}',
        b"\x00bytes",
    ],
)
async def test_a_first_message_that_is_none_is_answered_with_why(
    served: Served, agent: StubAgent, first: str | bytes
) -> None:
    async with served.terminal() as socket:
        await socket.send(first)
        messages, code = await _until_closed(socket)
    assert json.loads(messages[-1])["type"] == "error"
    assert code in (1008, 1011)
    assert agent.requests == []


async def test_a_client_that_goes_away_ends_the_input(served: Served, agent: StubAgent) -> None:
    async with served.terminal() as socket:
        await socket.send(json.dumps({"argv": ["cat"], "stdin": True}))
        await _next(socket)
    async with asyncio.timeout(SOON_S):
        while not agent.frames or agent.frames[-1].kind is not SessionFrameKind.STDIN_CLOSED:
            await asyncio.sleep(0.01)


async def test_a_node_that_falls_silent_ends_the_session(
    served: Served, agent: StubAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_session, "KEEPALIVE_S", 0.05)
    async with served.terminal() as socket:
        await socket.send(json.dumps({"argv": ["cat"]}))
        await _next(socket)
        served.world.clock.advance(exec_session.SILENT_S + 1)
        messages, code = await _until_closed(socket)
    assert "silent" in json.loads(messages[-1])["detail"]
    assert code == 1011


async def test_revoking_the_token_closes_its_terminals_within_a_second(
    served: Served, agent: StubAgent
) -> None:
    made = (await served.world.post("/v1/tokens", json={"name": "ci"})).json()
    served.world.tokens["ci"] = made["token"]
    async with served.terminal(as_="ci") as socket:
        await socket.send(json.dumps({"argv": ["cat"]}))
        await _next(socket)
        await served.world.request("DELETE", f"/v1/tokens/{made['id']}")
        async with asyncio.timeout(1.5):
            await _until_closed(socket)


async def test_output_faster_than_the_client_reads_arrives_whole(served: Served, agent: StubAgent) -> None:
    async with served.terminal(max_queue=1) as socket:
        await socket.send(json.dumps({"argv": ["yes"]}))
        await _next(socket)
        for number in range(2000):
            await agent.say(SessionFrameKind.STDOUT, f"{number}\n".encode() * 50)
        await agent.say(SessionFrameKind.EXIT, b"", exit_code=0)
        messages, code = await _until_closed(socket)
    output = b"".join(item[1:] for item in messages if isinstance(item, bytes)).replace(b"ready\n", b"")
    assert output == b"".join(f"{number}\n".encode() * 50 for number in range(2000))
    assert code == 1000
