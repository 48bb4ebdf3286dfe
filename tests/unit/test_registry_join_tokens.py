"""Join tokens: what their text says, and that each gives its right once, in time, and to nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice import pki
from lattice.errors import Invalid, Unauthenticated
from lattice.join_token import JoinToken, read_join_token, secret_text
from lattice.testing import ManualClock
from services.registry.enrolment import register_node
from services.registry.tables import AuditRow, FactRow, IdempotencyRow, JoinTokenRow, NodeRow
from tests.fixtures.machines import (
    GATEWAY_URL,
    Authorities,
    Machine,
    NodeRegistry,
    make_node_registry,
    new_authorities,
)


@pytest.fixture(scope="module")
def authorities() -> Authorities:
    return new_authorities(ManualClock().now())


@pytest.fixture
def registry(authorities: Authorities) -> NodeRegistry:
    return make_node_registry(authorities)


# --- the text ----------------------------------------------------------------------------------------------

FINGERPRINT = "0f" * 32


@given(url=st.text(min_size=1, max_size=200), secret=st.binary(min_size=32, max_size=32))
def test_what_was_written_is_read(url: str, secret: bytes) -> None:
    token = JoinToken(url, FINGERPRINT, secret_text(secret))
    assert read_join_token(token.text) == token
    assert read_join_token(f"  {token.text}\n") == token


def test_a_damaged_token_is_refused_with_advice() -> None:
    whole = JoinToken("https://a", FINGERPRINT, "secret").text
    no_fingerprint = JoinToken("https://a", "xyz", "secret").text
    for text in (
        "",
        "lattice-join.",
        whole[:-9],
        whole[13:],
        whole + "!",
        no_fingerprint,
        "lattice-join.bnVsbA",
        "x" * 9999,
    ):
        with pytest.raises(Unauthenticated, match="lattice node token"):
            read_join_token(text)


def test_the_secret_does_not_show() -> None:
    token = JoinToken("https://a", FINGERPRINT, "very-secret")
    assert "very-secret" not in repr(token)


# --- the right ---------------------------------------------------------------------------------------------


async def test_a_token_leads_to_this_cluster_and_is_kept_as_a_hash(registry: NodeRegistry) -> None:
    token = read_join_token(await registry.token(pool="edge", labels={"zone": "home"}))
    assert token.gateway_url == GATEWAY_URL
    assert token.ca_fingerprint == pki.ca_fingerprint(registry.deps.issuer.certificates.root)
    async with registry.store.transaction() as tx:
        (row,) = await tx.find(JoinTokenRow)
        kept = [*await tx.find(FactRow), *await tx.find(AuditRow), *await tx.find(IdempotencyRow), row]
    assert row.secret_sha256 == token.secret_sha256
    assert (row.expires_at - row.created_at).total_seconds() == 900
    assert not any(token.secret in repr(one.model_dump()) for one in kept)
    assert (row.pool, row.labels, row.created_by) == ("edge", {"zone": "home"}, "user:ada")


@pytest.mark.parametrize(
    "labels", [{"a b": "x"}, {"": "x"}, {"a": ""}, {"a": "x y"}, {"a": "x\n"}, {"a" * 64: "x"}]
)
async def test_labels_that_no_constraint_could_name_are_refused(
    registry: NodeRegistry, labels: dict[str, str]
) -> None:
    with pytest.raises(Invalid, match="label"):
        await registry.token(labels=labels)
    async with registry.store.transaction() as tx:
        assert await tx.count(JoinTokenRow) == 0


async def test_an_unknown_token_is_refused(registry: NodeRegistry) -> None:
    token = read_join_token(await registry.token())
    other = replace(token, secret=secret_text(b"z" * 32))
    with pytest.raises(Unauthenticated, match="not known"):
        await register_node(registry.deps, Machine().asks(other.text))


async def test_an_expired_token_is_refused(registry: NodeRegistry) -> None:
    token = await registry.token(ttl_s=900)
    registry.clock.advance(900)
    with pytest.raises(Unauthenticated, match="expired at 2030-01-01T00:15:00"):
        await register_node(registry.deps, Machine().asks(token))


async def test_a_token_lets_one_machine_ask_once(registry: NodeRegistry) -> None:
    token = await registry.token()
    await register_node(registry.deps, Machine().asks(token))
    with pytest.raises(Unauthenticated, match="was used"):
        await register_node(registry.deps, Machine("rack-2").asks(token))
    async with registry.store.transaction() as tx:
        assert await tx.count(NodeRow) == 1


async def test_a_repeated_request_gets_the_same_answer(registry: NodeRegistry) -> None:
    asks = Machine().asks(await registry.token())
    first = await register_node(registry.deps, asks)
    registry.clock.advance(3600)
    assert await register_node(registry.deps, asks) == first


async def test_a_refused_request_leaves_the_token_unused(registry: NodeRegistry) -> None:
    token, machine = await registry.token(), Machine()
    with pytest.raises(Invalid):
        await register_node(registry.deps, machine.asks(token).model_copy(update={"csr_pem": "nonsense"}))
    await register_node(registry.deps, machine.asks(token))
