"""The rendered configuration against the real server: who gets in, who is kept out, what survives a crash."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from nats.aio.client import Client, RawCredentials
from nats.errors import AuthorizationError

from lattice import nkey, pki_files
from lattice.errors import Invalid, NotFound
from standalone import nats_server as server_module
from tests.fixtures.nats import NOTHING, BusIdentity, NatsServer, Permissions

Connect = Callable[..., Any]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Open connections that are closed after the test; `errors` collects what the server complained about."""
    opened: list[Client] = []

    async def open_one(server: NatsServer, who: BusIdentity, **options: Any) -> Client:
        async def ignore(_error: Exception) -> None:
            pass

        settings = {
            "user_credentials": RawCredentials(who.credentials),
            "tls": who.tls,
            "allow_reconnect": False,
            "connect_timeout": 5,
            "error_cb": ignore,
            "inbox_prefix": who.inbox_prefix,
        }
        client = await nats.connect(server.url, tls_handshake_first=True, **{**settings, **options})
        opened.append(client)
        return client

    yield open_one
    for client in opened:
        await client.close()


async def eventually(holds: Callable[[], bool], *, timeout_s: float = 10) -> None:
    """Wait until it holds; asked in a thread, because it may block."""
    async with asyncio.timeout(timeout_s):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.02)


async def push_account(system: Client, account: str) -> int:
    answer = await system.request("$SYS.REQ.CLAIMS.UPDATE", account.encode(), timeout=5)
    return int(json.loads(answer.data)["data"]["code"])


# --- the configuration -------------------------------------------------------------------------------------


def test_the_server_accepts_its_configuration(nats_server: NatsServer) -> None:
    server_module.check_config(nats_server.binary, nats_server.config)


def test_a_configuration_the_server_refuses_is_reported_with_its_words(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    tls = replace(own_nats_server.config.tls, key=tmp_path / "missing.key")
    broken = replace(own_nats_server.config, folder=tmp_path / "other", tls=tls)
    server_module.write_config(broken)
    with pytest.raises(Invalid, match=r"missing\.key"):
        server_module.check_config(own_nats_server.binary, broken)


def test_odd_characters_in_a_path_stay_inside_their_text(nats_server: NatsServer, tmp_path: Path) -> None:
    folder = tmp_path / 'a "quoted" $HOME { folder'
    odd = replace(nats_server.config, folder=folder)
    server_module.write_config(odd)
    server_module.check_config(nats_server.binary, odd)


def test_the_configuration_is_a_function_of_its_arguments(nats_server: NatsServer) -> None:
    assert server_module.render(nats_server.config) == server_module.render(nats_server.config)
    elsewhere = replace(nats_server.config, port=1, host="0.0.0.0")
    assert 'listen: "0.0.0.0:1"' in server_module.render(elsewhere)
    assert 'http: "127.0.0.1:' in server_module.render(elsewhere)


def test_the_binary_is_found_and_judged(tmp_path: Path) -> None:
    assert server_module.find_binary(None, beside=Path(sys.executable)).name == "nats-server"
    with pytest.raises(NotFound, match="LATTICE_NATS_SERVER"):
        server_module.find_binary(tmp_path / "none", beside=Path(sys.executable))
    old = tmp_path / "old-server"
    old.write_text("#!/bin/sh\necho nats-server: v2.9.10\n")
    old.chmod(0o755)
    with pytest.raises(Invalid, match=r"2\.9\.10.*needs 2\.12"):
        server_module.find_binary(old, beside=Path(sys.executable))
    with pytest.raises(Invalid, match="does not say its version"):
        server_module.check_version("hello", old)
    assert server_module.check_version("nats-server: v2.12.0", old) == (2, 12, 0)
    not_a_program = tmp_path / "text"
    not_a_program.write_text("hello")
    with pytest.raises(Invalid, match="cannot be run"):
        server_module.find_binary(not_a_program, beside=Path(sys.executable))


async def test_ready_follows_the_server(own_nats_server: NatsServer) -> None:
    is_ready = server_module.ready_check(own_nats_server.config)
    assert await is_ready()
    own_nats_server.stop()
    assert not await is_ready()


# --- who gets in -------------------------------------------------------------------------------------------


async def test_a_service_gets_in_and_may_do_what_its_ticket_says(
    nats_server: NatsServer, connect: Connect
) -> None:
    everything = await connect(nats_server, nats_server.service("all"))
    subscription = await everything.subscribe("t1.>")
    await everything.flush()
    limited = await connect(nats_server, nats_server.service("one", Permissions(("t1.mine",), ())))
    for subject in ("t1.mine", "t1.other", "t1.mine"):
        await limited.publish(subject, b"")
    await limited.flush()
    received = [(await subscription.next_msg(timeout=2)).subject for _ in range(2)]
    assert received == ["t1.mine", "t1.mine"]


async def test_a_ticket_without_permissions_allows_nothing(nats_server: NatsServer, connect: Connect) -> None:
    errors: list[str] = []

    async def note(error: Exception) -> None:
        errors.append(str(error))

    mute = await connect(nats_server, nats_server.service("mute", NOTHING), error_cb=note)
    await mute.publish("t2.anything", b"")
    await mute.subscribe("t2.anything")
    await mute.flush()
    await eventually(lambda: len(errors) == 2)
    assert all("permissions violation" in error.lower() for error in errors)


async def test_nobody_gets_in_without_certificate_and_ticket(
    nats_server: NatsServer, own_nats_server: NatsServer, connect: Connect
) -> None:
    known = nats_server.service("known")
    bare = ssl.create_default_context(cafile=str(nats_server.ca_file))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect(nats_server, known, tls=bare)
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(nats_server, own_nats_server.service("stranger"))
    with pytest.raises((AuthorizationError, nats.errors.Error), match=r"(?i)authorization"):
        other = own_nats_server.service("other")
        await connect(nats_server, known, user_credentials=RawCredentials(other.credentials))


async def test_an_expired_ticket_is_refused(nats_server: NatsServer, connect: Connect) -> None:
    with pytest.raises(nats.errors.Error, match=r"(?i)authorization|expired"):
        await connect(nats_server, nats_server.node("node-x", expires_in=-timedelta(minutes=5)))


async def test_a_node_speaks_for_itself_only(nats_server: NatsServer, connect: Connect) -> None:
    errors: list[str] = []

    async def note(error: Exception) -> None:
        errors.append(str(error))

    node = await connect(nats_server, nats_server.node("node-1"), error_cb=note)
    await node.subscribe("lattice.node.node-1.deploy")
    await node.publish("lattice.node.node-1.heartbeat", b"{}")
    await node.flush()
    assert errors == []
    for subject in (
        "lattice.node.node-2.deploy",
        "lattice.node.*.deploy",
        "lattice.>",
        ">",
        "_INBOX_other.>",
    ):
        await node.subscribe(subject)
    for subject in ("lattice.node.node-2.heartbeat", "lattice.desired.node.node-1", "$JS.API.STREAM.NAMES"):
        await node.publish(subject, b"")
    await node.flush()
    await eventually(lambda: len(errors) == 8)
    assert node.is_connected


# --- revocation --------------------------------------------------------------------------------------------


async def refused(server: NatsServer, who: BusIdentity, connect: Connect) -> bool:
    try:
        await connect(server, who)
    except nats.errors.Error:
        return True
    return False


async def test_a_revoked_node_stays_out_after_a_restart(
    own_nats_server: NatsServer, connect: Connect
) -> None:
    server, node = own_nats_server, own_nats_server.node("node-1")
    system = await connect(server, server.system())
    await connect(server, node)
    now = datetime.now(UTC)
    revoking = server.account(revocations={node.user.public: now}, issued_at=now)
    assert await push_account(system, revoking) == 200
    assert await refused(server, node, connect)
    server.kill()
    server.start()  # its configuration holds the first account, which knows no revocation
    assert await refused(server, node, connect)
    assert not await refused(server, server.node("node-2"), connect)


async def test_the_newer_account_wins_also_when_it_comes_with_the_configuration(
    own_nats_server: NatsServer, connect: Connect
) -> None:
    server, node = own_nats_server, own_nats_server.node("node-1")
    await connect(server, node)
    now = datetime.now(UTC)
    server.stop()
    server.preload(server.account(revocations={node.user.public: now}, issued_at=now))
    server.start()
    assert await refused(server, node, connect)


async def test_a_node_approved_again_gets_in_with_the_same_key(
    own_nats_server: NatsServer, connect: Connect
) -> None:
    server, user = own_nats_server, nkey.new_key(nkey.USER)
    before = datetime.now(UTC) - timedelta(seconds=5)
    system = await connect(server, server.system())
    revoking = server.account(revocations={user.public: before}, issued_at=datetime.now(UTC))
    assert await push_account(system, revoking) == 200
    await connect(server, server.node("node-1", user=user))


# --- what lasts --------------------------------------------------------------------------------------------


async def test_acknowledged_messages_survive_a_crash_and_erasing_really_erases(
    own_nats_server: NatsServer, connect: Connect
) -> None:
    server, service = own_nats_server, own_nats_server.service("s")
    stream = (await connect(server, service)).jetstream()
    await stream.add_stream(name="T", subjects=["t.>"])
    for number in range(50):
        await stream.publish(f"t.{number}", b"x")
    server.kill()
    server.start()
    survived = (await connect(server, service)).jetstream()
    assert (await survived.stream_info("T")).state.messages == 50
    server.stop()
    server.erase_store()
    server.start()
    after = (await connect(server, service)).jetstream()
    assert await after.streams_info() == []


async def test_a_new_certificate_is_served_without_cutting_anybody(
    own_nats_server: NatsServer, connect: Connect, tmp_path: Path
) -> None:
    server = own_nats_server
    held = await connect(server, server.service("held"))
    fresh = server.new_server_files(tmp_path / "fresh")
    server.reload(replace(server.config, tls=fresh))
    wanted = pki_files.load_chain(fresh.certificate)[0].public_bytes(Encoding.DER)
    await eventually(lambda: server.served_certificate() == wanted)
    await held.flush()
    assert held.is_connected
