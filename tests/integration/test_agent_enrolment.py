"""A machine joins through a gateway over real TLS: it believes only the CA of its token, waits to be approved, and renews by itself."""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent.enrolment import Enrolment, renewal_time
from agent.gateway_client import fetch_ca
from agent.identity_store import IdentityStore
from lattice import identity, nkey, pki, pki_files
from lattice.clock import SystemClock
from lattice.contracts.messages import NodeCredentials
from lattice.errors import Forbidden, Gone, Invalid, Temporary, Unauthenticated
from lattice.join_token import JoinToken
from tests.fixtures.agent import eventually

NODE_ID = "nd-0001"


@dataclass
class Gateway:
    """The gateway's part of the contract, with real certificates and real signature checks."""

    folder: Path
    state: str = "pending"
    lifetime: timedelta = timedelta(hours=24)
    failures: list[tuple[int, dict[str, Any] | None]] = field(default_factory=list)
    fingerprint: str | None = None
    asked: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    port: int = 0
    renewed: int = 0

    def __post_init__(self) -> None:
        now = datetime.now(UTC)
        self.authority = pki.create_authority(name="test", now=now).authority
        self.nats = identity.new_authority(now=now)
        key = pki.new_private_key()
        leaf = pki.issue_service(
            self.authority, key.public_key(), "gateway", now=now, lifetime=timedelta(days=1),
            dns_names=["localhost"], ip_addresses=["127.0.0.1"],
        )  # fmt: skip
        pki_files.save_key(self.folder / "gateway.key", key)
        pki_files.save_chain(self.folder / "gateway.pem", self.authority.chain_pem(leaf))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def token(self, **changes: str) -> str:
        parts = {
            "gateway_url": self.url,
            "ca_fingerprint": pki.ca_fingerprint(self.authority.root),
            "secret": "s3cret",
        }
        return JoinToken(**{**parts, **changes}).text

    async def serve(self) -> web.AppRunner:
        app = web.Application(middlewares=[self._fail_when_told])
        app.router.add_get("/v1/ca", self._ca)
        app.router.add_post("/v1/nodes/register", self._register)
        app.router.add_get("/v1/nodes/register/{id}", self._enrolment)
        app.router.add_post("/v1/nodes/{id}/renew", self._renew)
        runner = web.AppRunner(app)
        await runner.setup()
        context: ssl.SSLContext = pki_files.server_context(
            self.folder / "gateway.pem", self.folder / "gateway.key"
        )
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    @web.middleware
    async def _fail_when_told(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if self.failures:
            status, problem = self.failures.pop(0)
            return web.json_response(problem, status=status) if problem else web.Response(status=status)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _ca(self, request: web.Request) -> web.Response:
        return web.Response(body=self.authority.trust_pem)

    async def _register(self, request: web.Request) -> web.Response:
        self.machine = await request.json()
        found = pki.enrolment_fingerprint(
            self.machine["csr_pem"].encode(),
            nkey=self.machine["nkey"],
            sealing_key=self.machine["sealing_key"],
        )
        return web.json_response({"node_id": NODE_ID, "fingerprint": self.fingerprint or found}, status=201)

    async def _enrolment(self, request: web.Request) -> web.Response:
        self._check_proof(request, "get_enrolment", b"")
        return self._answer(self.machine["csr_pem"])

    async def _renew(self, request: web.Request) -> web.Response:
        request_pem = (await request.json())["csr_pem"]
        self._check_proof(request, "renew_node", request_pem.encode())
        self.renewed += 1
        return self._answer(request_pem)

    def _check_proof(self, request: web.Request, purpose: str, body: bytes) -> None:
        signed_at = datetime.fromisoformat(request.headers["Lattice-Signed-At"])
        assert abs(datetime.now(UTC) - signed_at) < timedelta(minutes=1)
        proof = identity.proof_bytes(purpose, request.match_info["id"], signed_at, body)
        signature = base64.b64decode(request.headers["Lattice-Signature"], validate=True)
        nkey.verify(self.machine["nkey"], proof, signature)

    def _answer(self, request_pem: str) -> web.Response:
        credentials = self._issue(request_pem).model_dump(mode="json") if self.state == "approved" else None
        return web.json_response(
            {"node_id": NODE_ID, "state": self.state, "fingerprint": "", "reason": "not ours",
             "credentials": credentials}
        )  # fmt: skip

    def _issue(self, request_pem: str) -> NodeCredentials:
        now = datetime.now(UTC)
        leaf = pki.issue_node(self.authority, request_pem.encode(), NODE_ID, now=now, lifetime=self.lifetime)
        jwt = identity.node_user_jwt(
            self.nats, NODE_ID, self.machine["nkey"], issued_at=now, expires_at=now + self.lifetime
        )
        return NodeCredentials(
            certificate_pem=self.authority.chain_pem(leaf).decode(),
            ca_pem=self.authority.trust_pem.decode(),
            jwt=jwt,
            expires_at=now + self.lifetime,
            cluster_id="c1",
            nats_urls=("tls://127.0.0.1:4222",),
            nats_server_name="localhost",
        )


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway(tmp_path / "gateway")
    runner = await gateway.serve()
    yield gateway
    await runner.cleanup()


@pytest.fixture
def store(tmp_path: Path) -> IdentityStore:
    return IdentityStore(tmp_path / "identity")


def enrolment(store: IdentityStore, shown: list[str] | None = None) -> Enrolment:
    show = shown.append if shown is not None else lambda _: None
    return Enrolment(store, clock=SystemClock(), chance=random.Random(1), show=show, poll_s=0.02)


async def test_a_machine_joins_once_approved(gateway: Gateway, store: IdentityStore, tmp_path: Path) -> None:
    shown: list[str] = []
    joining = asyncio.create_task(enrolment(store, shown).credentials(gateway.token(), "web-01"))
    await eventually(lambda: gateway.asked.count(f"GET /v1/nodes/register/{NODE_ID}") >= 2)
    keys = store.keys()
    assert keys.fingerprint(gateway.machine["csr_pem"].encode()) in shown[0]
    assert not joining.done() and store.credentials is None
    gateway.state = "approved"
    credentials = await joining
    assert credentials == store.credentials and credentials.cluster_id == "c1"
    settings = store.bus_settings(credentials)
    pki_files.client_context(
        settings.ca_file, certificate_file=settings.cert_file, key_file=settings.key_file
    )
    assert keys.bus.seed in settings.creds_file.read_text()
    private = {"keys.json", "tls.key", "credentials.json", "registration.json", "node.creds"}
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "identity").iterdir()}
    assert {modes[name] for name in private} == {0o600}
    assert (tmp_path / "identity").stat().st_mode & 0o777 == 0o700


async def test_a_restart_while_pending_waits_on_with_the_same_keys(
    gateway: Gateway, store: IdentityStore
) -> None:
    joining = asyncio.create_task(enrolment(store).credentials(gateway.token(), "web-01"))
    await eventually(lambda: f"GET /v1/nodes/register/{NODE_ID}" in gateway.asked)
    joining.cancel()
    first = dict(gateway.machine)
    gateway.state = "approved"
    await enrolment(store).credentials(None, "web-01")
    assert gateway.machine == first and gateway.asked.count("POST /v1/nodes/register") == 1


async def test_a_node_needs_no_gateway_to_start(gateway: Gateway, store: IdentityStore) -> None:
    gateway.state = "approved"
    joined = await enrolment(store).credentials(gateway.token(), "web-01")
    gateway.asked.clear()
    assert await enrolment(store).credentials(None, "web-01") == joined
    assert gateway.asked == []


async def test_a_node_that_is_told_to_join_says_who_it_is(gateway: Gateway, store: IdentityStore) -> None:
    gateway.state = "approved"
    joined = await enrolment(store).credentials(gateway.token(), "web-01")
    shown: list[str] = []
    assert await enrolment(store, shown).credentials(gateway.token(), "other") == joined
    assert shown == ["This machine is the node web-01 already: the join token is not needed."]


async def test_half_a_token_is_refused_by_a_node_as_well(gateway: Gateway, store: IdentityStore) -> None:
    gateway.state = "approved"
    await enrolment(store).credentials(gateway.token(), "web-01")
    with pytest.raises(Unauthenticated, match="not a whole join token"):
        await enrolment(store).credentials("lattice-join.half", "web-01")


async def test_another_ca_than_the_tokens_is_refused_before_anything_is_sent(
    gateway: Gateway, store: IdentityStore
) -> None:
    with pytest.raises(Unauthenticated, match="another CA"):
        await enrolment(store).credentials(gateway.token(ca_fingerprint="0" * 64), "web-01")
    assert gateway.asked == ["GET /v1/ca"]


async def test_a_gateway_with_a_certificate_of_another_ca_is_not_talked_to(
    gateway: Gateway, store: IdentityStore, tmp_path: Path
) -> None:
    """It may hand out the right root, which is public; it cannot prove that it belongs to it."""
    impostor = Gateway(tmp_path / "impostor")
    runner = await impostor.serve()
    impostor.authority = gateway.authority
    try:
        joining = asyncio.create_task(enrolment(store).credentials(impostor.token(), "web-01"))
        await eventually(lambda: impostor.asked)
        await asyncio.sleep(0.3)
        joining.cancel()
    finally:
        await runner.cleanup()
    assert set(impostor.asked) == {"GET /v1/ca"} and impostor.machine == {}


async def test_a_fingerprint_of_other_keys_is_refused(gateway: Gateway, store: IdentityStore) -> None:
    gateway.fingerprint = "dead-beef"
    with pytest.raises(Unauthenticated, match="do not approve"):
        await enrolment(store).credentials(gateway.token(), "web-01")
    assert store.registration is None


async def test_a_rejected_machine_says_so_and_may_try_another_token(
    gateway: Gateway, store: IdentityStore
) -> None:
    gateway.state = "rejected"
    with pytest.raises(Forbidden, match="rejected: not ours"):
        await enrolment(store).credentials(gateway.token(), "web-01")
    gateway.state = "approved"
    assert (await enrolment(store).credentials(gateway.token(), "web-01")).cluster_id == "c1"


async def test_without_a_token_it_says_what_to_do(store: IdentityStore) -> None:
    with pytest.raises(Invalid, match="join token"):
        await enrolment(store).credentials(None, "web-01")
    with pytest.raises(Unauthenticated, match="not a whole join token"):
        await enrolment(store).credentials("lattice-join.x", "web-01")


async def test_a_used_token_is_reported_as_the_gateway_says(gateway: Gateway, store: IdentityStore) -> None:
    problem = {"code": "gone", "title": "Gone", "detail": "The token was used."}
    gateway.failures = []
    joining = enrolment(store).credentials(gateway.token(), "web-01")
    gateway.failures.append((410, problem))
    with pytest.raises(Gone, match="The token was used"):
        await joining


async def test_a_gateway_that_is_away_is_asked_again(gateway: Gateway, store: IdentityStore) -> None:
    gateway.state = "approved"
    gateway.failures = [(502, None)]
    assert (await enrolment(store).credentials(gateway.token(), "web-01")).cluster_id == "c1"


async def test_an_address_where_nobody_listens_is_temporary() -> None:
    with pytest.raises(Temporary, match="cannot be reached"):
        await fetch_ca("https://127.0.0.1:1", "0" * 64)


async def test_credentials_are_renewed_after_two_thirds_and_also_when_expired(
    gateway: Gateway, store: IdentityStore
) -> None:
    gateway.state = "approved"
    gateway.lifetime = timedelta(seconds=1)
    first = await enrolment(store).credentials(gateway.token(), "web-01")
    gateway.lifetime = timedelta(hours=24)
    renewing = asyncio.create_task(enrolment(store).keep_fresh())
    await eventually(lambda: gateway.renewed == 1)
    await eventually(lambda: store.credentials != first)
    renewing.cancel()
    newer = store.credentials
    assert newer is not None and newer.expires_at > first.expires_at
    wait = renewal_time(newer, 0.5) - datetime.now(UTC)
    assert timedelta(hours=15) < wait < timedelta(hours=17)


async def test_a_failed_renewal_is_tried_again(gateway: Gateway, store: IdentityStore) -> None:
    gateway.state, gateway.lifetime = "approved", timedelta(seconds=1)
    await enrolment(store).credentials(gateway.token(), "web-01")
    gateway.failures = [(503, {"code": "temporary", "detail": "busy"})]
    renewing = asyncio.create_task(enrolment(store).keep_fresh())
    await eventually(lambda: gateway.renewed == 1)
    renewing.cancel()


async def test_a_node_that_was_cut_off_learns_why(gateway: Gateway, store: IdentityStore) -> None:
    gateway.state = "approved"
    member = enrolment(store)
    await member.credentials(gateway.token(), "web-01")
    gateway.failures = [(403, {"code": "forbidden", "detail": "Node web-01 is revoked; stolen."})]
    renewing = asyncio.create_task(member.keep_fresh())
    await asyncio.sleep(0.3)
    assert len(gateway.failures) == 1, "a node whose credentials are accepted asks nobody"
    await member.renew_soon()
    await eventually(lambda: member.problem == "Node web-01 is revoked; stolen.")
    assert await member.ready() == member.problem
    renewing.cancel()


async def test_short_lived_credentials_are_not_renewed_without_end(
    gateway: Gateway, store: IdentityStore
) -> None:
    gateway.state, gateway.lifetime = "approved", timedelta(seconds=2)
    await enrolment(store).credentials(gateway.token(), "web-01")
    renewing = asyncio.create_task(enrolment(store).keep_fresh())
    began = asyncio.get_running_loop().time()
    await eventually(lambda: gateway.renewed == 3)
    renewing.cancel()
    assert asyncio.get_running_loop().time() - began > 1.5


def test_renewals_of_many_nodes_are_spread(gateway: Gateway) -> None:
    gateway.machine = {"nkey": nkey.new_key(nkey.USER).public}
    request = pki.certificate_request(pki.new_private_key(), name="x").decode()
    credentials = gateway._issue(request)
    times = {renewal_time(credentials, chance) for chance in (0.0, 0.5, 0.99)}
    assert len(times) == 3 and max(times) - min(times) > timedelta(hours=1)
