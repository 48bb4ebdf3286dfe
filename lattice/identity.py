"""Who may speak on the message bus: keys and signed statements (JWTs) in NATS operator mode.

The operator key vouches for the operator signing key, that one signs the account, and the account's two
signing keys sign users: one for our services, whose JWTs carry their own permissions, and a *scoped* one for
nodes, whose JWTs carry none.  The node's permissions are a template inside the account; the server fills in
`{{name()}}` with the name in the JWT.  So the name is the identity, and a node called `*` would read
everybody's orders: the signer refuses every name that is not a plain node id.

Nothing here asks a server: signing takes 0.1 ms, and agents can connect while everything that signs is down.
Times are arguments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from lattice.errors import Invalid, NotFound
from lattice.files import write_durably
from lattice.nats_jwt import Claims, sign, whole_seconds
from lattice.nats_jwt import decode as decode
from lattice.nkey import ACCOUNT, OPERATOR, NKey, check_user_key, new_key, read_key
from lattice.pki import check_node_id

UNLIMITED = -1
NODE_SUBSCRIPTIONS = 64
REPLY_TTL = timedelta(seconds=60)
KEPT_AS = "nats-authority.json"


class AllowList(Protocol):
    """What an identity may do: subjects to publish and to subscribe to.  An empty list allows nothing."""

    @property
    def publish(self) -> tuple[str, ...]: ...
    @property
    def subscribe(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class NatsAuthority:
    """All keys that vouch for somebody on the bus; whoever has them can become anybody."""

    created_at: datetime
    operator: NKey
    operator_signing: NKey
    system_account: NKey
    account: NKey
    service_signing: NKey
    node_signing: NKey


_KEY_NAMES = tuple(field.name for field in fields(NatsAuthority) if field.name != "created_at")


@dataclass(frozen=True, slots=True)
class OperatorConfig:
    """The part of a NATS server's configuration that says whom it believes."""

    operator_jwt: str
    system_account: str
    accounts: Mapping[str, str]


def new_authority(*, now: datetime) -> NatsAuthority:
    return NatsAuthority(
        created_at=now.replace(microsecond=0),
        operator=new_key(OPERATOR),
        operator_signing=new_key(OPERATOR),
        system_account=new_key(ACCOUNT),
        account=new_key(ACCOUNT),
        service_signing=new_key(ACCOUNT),
        node_signing=new_key(ACCOUNT),
    )


def operator_config(authority: NatsAuthority, *, node_permissions: AllowList) -> OperatorConfig:
    """What a server needs to start: always the *first* account, which knows no revocation.

    It is dated at the creation of the authority, so any account that was sent to the server since is newer
    and wins at a restart.  One dated now would let everybody back in who was revoked.
    """
    created_at = authority.created_at
    body = {
        "type": "operator",
        "system_account": authority.system_account.public,
        "signing_keys": [authority.operator_signing.public],
    }
    operator = sign(authority.operator, authority.operator.public, "lattice", body, created_at)
    system = _account(authority, authority.system_account, "SYS", {}, created_at)
    first = account_jwt(authority, node_permissions=node_permissions, revocations={}, issued_at=created_at)
    accounts = {authority.account.public: first, authority.system_account.public: system}
    return OperatorConfig(operator, authority.system_account.public, accounts)


def next_issue(now: datetime, *, previous: datetime) -> datetime:
    """When to date the next account, given the date of the last (at first the authority's `created_at`).

    Servers compare whole seconds, and of two accounts of one second the older can win at a restart.
    """
    return max(now, previous + timedelta(seconds=1))


def account_jwt(
    authority: NatsAuthority,
    *,
    node_permissions: AllowList,
    revocations: Mapping[str, datetime],
    issued_at: datetime,
) -> str:
    """The account of the platform: what nodes may do, and whose older JWTs (public nkey -> time) count no
    more.

    A server keeps the JWT with the newest `issued_at`: take it from `next_issue`.
    """
    storage = {
        "mem_storage": UNLIMITED,
        "disk_storage": UNLIMITED,
        "streams": UNLIMITED,
        "consumer": UNLIMITED,
    }
    body: Claims = {
        "limits": storage,
        "signing_keys": [authority.service_signing.public, _node_scope(authority, node_permissions)],
        "revocations": {
            check_user_key(user): whole_seconds(when) for user, when in sorted(revocations.items())
        },
    }
    return _account(authority, authority.account, "LATTICE", body, issued_at)


def live_revocations(
    revocations: Mapping[str, datetime], *, now: datetime, lifetime: timedelta
) -> dict[str, datetime]:
    """Those that still matter: a JWT older than its longest life is refused as expired anyway.

    The list must stay short, because 10,000 entries nearly fill the largest message (935 KB of 1 MB).
    """
    return {user: when for user, when in revocations.items() if when + lifetime > now}


def node_user_jwt(
    authority: NatsAuthority, node_id: str, user_key: str, *, issued_at: datetime, expires_at: datetime
) -> str:
    """A node's ticket for the bus; what it may do is in the account.  Raises Invalid for an unsafe node
    id.
    """
    check_node_id(node_id)
    body: Claims = {"type": "user", "issuer_account": authority.account.public}
    return sign(authority.node_signing, check_user_key(user_key), node_id, body, issued_at, expires_at)


def service_user_jwt(
    authority: NatsAuthority,
    service: str,
    user_key: str,
    permissions: AllowList,
    *,
    issued_at: datetime,
    expires_at: datetime,
    may_reply: bool = False,
) -> str:
    """A service's ticket with its own permissions; one that serves requests may also answer each of them once."""
    body: Claims = {
        **_user_limits(),
        **_allow(permissions),
        **({"resp": _one_reply()} if may_reply else {}),
        "type": "user",
        "issuer_account": authority.account.public,
        "allowed_connection_types": ["STANDARD"],
    }
    return sign(authority.service_signing, check_user_key(user_key), service, body, issued_at, expires_at)


def system_user_jwt(
    authority: NatsAuthority, name: str, user_key: str, *, issued_at: datetime, expires_at: datetime
) -> str:
    """A ticket for the system account: to publish account changes, see connections come and go, and cut
    them.
    """
    body: Claims = {
        **_user_limits(),
        "type": "user",
        "issuer_account": authority.system_account.public,
        "allowed_connection_types": ["STANDARD"],
    }
    return sign(authority.system_account, check_user_key(user_key), name, body, issued_at, expires_at)


def credentials(jwt: str, user: NKey) -> str:
    """The text of a credentials file: ticket and secret together."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )


def proof_bytes(purpose: str, node_id: str, signed_at: datetime, body: bytes) -> bytes:
    """What a node signs with its bus key to prove that a request is its own.

    `purpose` is the request's name and `body` what it carries, so a proof made for one request is worth
    nothing for another; `signed_at` (aware) lets the reader refuse an old one.
    """
    at = signed_at.astimezone(UTC).isoformat(timespec="microseconds")
    digest = hashlib.sha256(body).hexdigest()
    return json.dumps(["lattice-proof-1", purpose, node_id, at, digest]).encode()


def save(folder: Path, authority: NatsAuthority) -> None:
    """Keep all keys in one file (0600), so no crash can leave a part of them."""
    kept = {name: getattr(authority, name).seed for name in _KEY_NAMES}
    kept["created_at"] = authority.created_at.isoformat()
    write_durably(folder / KEPT_AS, json.dumps(kept, indent=1).encode())


def load(folder: Path) -> NatsAuthority:
    """The authority that `save` kept.  Raises NotFound or Invalid."""
    path = folder / KEPT_AS
    try:
        kept = json.loads(path.read_bytes())
        keys = {name: read_key(kept[name]) for name in _KEY_NAMES}
        return NatsAuthority(datetime.fromisoformat(kept["created_at"]), **keys)
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist.") from error
    except (ValueError, KeyError, TypeError, Invalid) as error:
        raise Invalid(f"{path} is damaged: restore it from a backup.") from error


def _account(authority: NatsAuthority, key: NKey, name: str, body: Claims, issued_at: datetime) -> str:
    names = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
    limits: Claims = {**dict.fromkeys(names, UNLIMITED), "wildcards": True, **body.get("limits", {})}
    return sign(
        authority.operator_signing, key.public, name, {**body, "type": "account", "limits": limits}, issued_at
    )


def _node_scope(authority: NatsAuthority, permissions: AllowList) -> Claims:
    template = {
        **_user_limits(),
        **_allow(permissions),
        "subs": NODE_SUBSCRIPTIONS,
        "resp": _one_reply(),
        "allowed_connection_types": ["STANDARD", "WEBSOCKET"],
    }
    return {"kind": "user_scope", "key": authority.node_signing.public, "role": "node", "template": template}


def _one_reply() -> Claims:
    return {"max": 1, "ttl": int(REPLY_TTL.total_seconds() * 1e9)}


def _user_limits() -> Claims:
    return {"subs": UNLIMITED, "data": UNLIMITED, "payload": UNLIMITED}


def _allow(permissions: AllowList) -> Claims:
    return {"pub": _subjects(permissions.publish), "sub": _subjects(permissions.subscribe)}


def _subjects(allowed: tuple[str, ...]) -> Claims:
    """To the server an empty allow-list means everything; to us it means nothing."""
    return {"allow": list(allowed)} if allowed else {"deny": [">"]}
