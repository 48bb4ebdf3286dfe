"""Tickets for the bus: what they say, whom they refuse, and that keys survive on the disk but not in logs."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lattice import identity, nkey
from lattice.errors import Invalid, NotFound, Unauthenticated

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=24)


@dataclass(frozen=True)
class Allowed:
    publish: tuple[str, ...] = ("a.{{name()}}",)
    subscribe: tuple[str, ...] = ("b.{{name()}}",)


@pytest.fixture(scope="module")
def authority() -> identity.NatsAuthority:
    return identity.new_authority(now=NOW)


@pytest.fixture
def user() -> nkey.NKey:
    return nkey.new_key(nkey.USER)


def node_jwt(authority: identity.NatsAuthority, node_id: str, user_key: str) -> str:
    return identity.node_user_jwt(authority, node_id, user_key, issued_at=NOW, expires_at=LATER)


def test_a_node_ticket_carries_its_name_and_no_permissions(
    authority: identity.NatsAuthority, user: nkey.NKey
) -> None:
    claims = identity.decode(node_jwt(authority, "node-1", user.public))
    assert (claims["name"], claims["sub"], claims["iss"]) == (
        "node-1",
        user.public,
        authority.node_signing.public,
    )
    assert (claims["iat"], claims["exp"]) == (int(NOW.timestamp()), int(LATER.timestamp()))
    assert claims["nats"] == {"type": "user", "issuer_account": authority.account.public, "version": 2}


@pytest.mark.parametrize(
    "node_id", ["*", ">", "a.b", "", "a b", "A", "-a", "a" * 64, "a\n", "{{name()}}", "é"]
)
def test_a_name_that_could_be_a_pattern_is_refused(
    authority: identity.NatsAuthority, user: nkey.NKey, node_id: str
) -> None:
    with pytest.raises(Invalid, match="node id"):
        node_jwt(authority, node_id, user.public)


def test_a_key_that_is_not_a_users_is_refused(authority: identity.NatsAuthority, user: nkey.NKey) -> None:
    account_key = nkey.new_key(nkey.ACCOUNT).public
    mistyped = user.public[:-1] + ("A" if user.public[-1] != "A" else "B")
    for bad in ("", "U", "nonsense", user.seed, account_key, mistyped, user.public + "\n", "*"):
        with pytest.raises(Invalid, match="public key"):
            node_jwt(authority, "node-1", bad)


def test_an_altered_ticket_is_refused(authority: identity.NatsAuthority, user: nkey.NKey) -> None:
    good = node_jwt(authority, "node-1", user.public)
    head, body, signature = good.split(".")
    other = node_jwt(authority, "node-2", user.public).split(".")[1]
    for bad in (
        f"{head}.{other}.{signature}",
        f"{head}.{body}",
        "",
        "a.b.c",
        good[:-4],
        f"{head}.{body}.AAAA",
    ):
        with pytest.raises(Unauthenticated):
            identity.decode(bad)


def test_the_account_holds_the_node_template_and_the_revocations(
    authority: identity.NatsAuthority, user: nkey.NKey
) -> None:
    jwt = identity.account_jwt(
        authority, node_permissions=Allowed(), revocations={user.public: NOW}, issued_at=LATER
    )
    claims = identity.decode(jwt)
    service_key, scope = claims["nats"]["signing_keys"]
    assert claims["iss"] == authority.operator_signing.public
    assert service_key == authority.service_signing.public
    assert scope["key"] == authority.node_signing.public
    assert scope["template"]["pub"] == {"allow": ["a.{{name()}}"]}
    assert scope["template"]["sub"] == {"allow": ["b.{{name()}}"]}
    assert claims["nats"]["revocations"] == {user.public: int(NOW.timestamp())}


def test_an_empty_list_allows_nothing(authority: identity.NatsAuthority, user: nkey.NKey) -> None:
    jwt = identity.service_user_jwt(
        authority, "logs", user.public, Allowed(publish=()), issued_at=NOW, expires_at=LATER
    )
    permissions = identity.decode(jwt)["nats"]
    assert permissions["pub"] == {"deny": [">"]}
    assert permissions["sub"] == {"allow": ["b.{{name()}}"]}


def test_equal_arguments_give_an_equal_account(authority: identity.NatsAuthority) -> None:
    first, second = (
        identity.account_jwt(authority, node_permissions=Allowed(), revocations={}, issued_at=NOW)
        for _ in range(2)
    )
    assert first == second


def test_revocations_are_dropped_once_the_ticket_has_expired_anyway(user: nkey.NKey) -> None:
    other = nkey.new_key(nkey.USER).public
    day = timedelta(hours=24)
    revoked = {user.public: NOW - 2 * day, other: NOW - timedelta(hours=1)}
    assert identity.live_revocations(revoked, now=NOW, lifetime=day) == {other: NOW - timedelta(hours=1)}


def test_the_operator_vouches_for_its_signing_key(authority: identity.NatsAuthority) -> None:
    config = identity.operator_config(authority, node_permissions=Allowed())
    claims = identity.decode(config.operator_jwt)
    assert claims["iss"] == claims["sub"] == authority.operator.public
    assert claims["nats"]["signing_keys"] == [authority.operator_signing.public]
    assert claims["nats"]["system_account"] == config.system_account == authority.system_account.public
    system = identity.decode(config.accounts[authority.system_account.public])
    assert system["iss"] == authority.operator_signing.public


def test_every_start_brings_the_same_first_account(authority: identity.NatsAuthority) -> None:
    first, second = (identity.operator_config(authority, node_permissions=Allowed()) for _ in range(2))
    assert first == second
    claims = identity.decode(first.accounts[authority.account.public])
    assert claims["iat"] == int(authority.created_at.timestamp())


def test_two_accounts_never_share_a_second() -> None:
    soon = NOW + timedelta(milliseconds=300)
    assert identity.next_issue(soon, previous=NOW) == NOW + timedelta(seconds=1)
    assert identity.next_issue(LATER, previous=NOW) == LATER
    assert identity.next_issue(NOW, previous=LATER) == LATER + timedelta(seconds=1)


def test_credentials_hold_ticket_and_secret(user: nkey.NKey) -> None:
    text = identity.credentials("the-jwt", user)
    assert "BEGIN NATS USER JWT-----\nthe-jwt\n---" in text
    assert f"BEGIN USER NKEY SEED-----\n{user.seed}\n---" in text


def test_signatures_are_checked(user: nkey.NKey) -> None:
    signature = user.sign(b"renew")
    nkey.verify(user.public, b"renew", signature)
    for data, bad in ((b"other", signature), (b"renew", signature[:-1]), (b"renew", b"")):
        with pytest.raises(Unauthenticated):
            nkey.verify(user.public, data, bad)


def test_a_seed_never_shows(user: nkey.NKey, authority: identity.NatsAuthority) -> None:
    assert user.seed not in repr(user) and user.seed not in f"{user}"
    assert authority.operator.seed not in repr(authority)


def test_the_authority_is_kept_privately_and_found_again(
    tmp_path: Path, authority: identity.NatsAuthority
) -> None:
    identity.save(tmp_path / "keys", authority)
    assert identity.load(tmp_path / "keys") == authority
    assert stat.S_IMODE((tmp_path / "keys" / identity.KEPT_AS).stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"operator": "SOAAA"}', "\x00"])
def test_a_damaged_authority_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / identity.KEPT_AS).write_text(content)
    with pytest.raises(Invalid, match="damaged"):
        identity.load(tmp_path)


def test_a_missing_authority_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=identity.KEPT_AS):
        identity.load(tmp_path)
