"""Credentials with which people's own clients hear alerts at the bus: made once, shown once, taken back at any time.

The keys are made here and not kept: like an API token, whoever loses one asks for another.  What a credential may do stands in its ticket, so
it holds while the registry is away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from lattice import identity, nkey, pki
from lattice.contracts.catalogue import ALERT, EVERY_SCOPE, ORDER_ACKNOWLEDGE
from lattice.contracts.messages import CreateSreCredential, Page, RevokeSreCredential
from lattice.contracts.permissions import inbox_prefix, sre_permissions
from lattice.contracts.views import Listing, SreCredentialCreated, SreCredentialView
from lattice.errors import Conflict, FieldError, Invalid, NotFound
from lattice.paging import page_of
from lattice.storage import Transaction
from services.registry.issuing import Issuer
from services.registry.node_deps import NodeDeps
from services.registry.reading import in_project
from services.registry.tables import SreCredentialRow

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
LONGEST = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What is shown once."""

    user: nkey.NKey
    certificate: str
    private_key: str
    creds: str


async def create_sre_credential(deps: NodeDeps, request: CreateSreCredential) -> SreCredentialCreated:
    """Make one; its secrets are in the answer and nowhere else."""
    _check(request)
    async with deps.change(request.caller, action="sre_credential.create") as change:
        await in_project(change.tx, request.project)
        if await change.tx.count(SreCredentialRow, name=request.name, revoked_at=None):
            raise Conflict(
                f"There is a credential {request.name!r} already: revoke it first, or choose another name."
            )
        row = SreCredentialRow(
            id=change.new_id("sr"),
            name=request.name,
            nkey="",
            project=request.project,
            may_order=request.may_order,
            created_by=request.caller.actor,
            created_at=change.now,
            expires_at=change.now + timedelta(seconds=request.ttl_s),
        )
        secrets = issue(deps.issuer, row)
        row.nkey = secrets.user.public
        change.tx.add(row)
        after = {"project": row.project, "may_order": row.may_order, "expires_at": row.expires_at.isoformat()}
        change.fact("sre_credential", "created", entity_id=row.id, entity_name=row.name, data=after)
        change.audit("sre_credential", row.id, entity_name=row.name, project=row.project, after=after)
    return _created(row, secrets, deps.issuer)


def _check(request: CreateSreCredential) -> None:
    if not _NAME.fullmatch(request.name):
        detail = "a name has lower-case letters, digits and hyphens, at most 63"
        raise Invalid(f"{detail}.", errors=[FieldError(pointer="/name", detail=detail)])
    if not 60 <= request.ttl_s <= LONGEST.total_seconds():
        detail = "it holds for a minute to a year"
        raise Invalid(f"{detail}.", errors=[FieldError(pointer="/ttl_s", detail=detail)])


def issue(issuer: Issuer, row: SreCredentialRow) -> Secrets:
    """New keys, and what is signed about them."""
    user, key = nkey.new_key(nkey.USER), pki.new_private_key()
    lifetime = row.expires_at - row.created_at
    leaf = pki.issue_bus_client(
        issuer.certificates, key.public_key(), row.id, now=row.created_at, lifetime=lifetime
    )
    permissions = sre_permissions(row.id, project=row.project, may_order=row.may_order)
    jwt = identity.service_user_jwt(
        issuer.tickets,
        row.id,
        user.public,
        permissions,
        issued_at=row.created_at,
        expires_at=row.expires_at,
    )
    return Secrets(
        user=user,
        certificate=issuer.certificates.chain_pem(leaf).decode(),
        private_key=pki.key_pem(key).decode(),
        creds=identity.credentials(jwt, user),
    )


def _created(row: SreCredentialRow, secrets: Secrets, issuer: Issuer) -> SreCredentialCreated:
    order = ORDER_ACKNOWLEDGE.address.subject(scope=row.project or EVERY_SCOPE, credential_id=row.id)
    own = {"project": row.project} if row.project is not None else {}
    return SreCredentialCreated(
        **_view(row).model_dump(),
        urls=issuer.nats_urls,
        server_name=issuer.nats_server_name,
        ca=issuer.certificates.trust_pem.decode(),
        certificate=secrets.certificate,
        private_key=secrets.private_key,
        creds=secrets.creds,
        subscribe=ALERT.address.pattern(**own),
        order=order.rpartition(".")[0] if row.may_order else "",
        inbox_prefix=inbox_prefix(row.id) if row.may_order else "",
    )


def _view(row: SreCredentialRow) -> SreCredentialView:
    return SreCredentialView.model_validate(row, from_attributes=True)


async def list_sre_credentials(deps: NodeDeps, request: Page) -> Listing[SreCredentialView]:
    """All that were made, newest first, also those that no longer hold."""
    async with deps.deps.store.transaction() as tx:
        rows, token = await page_of(tx, SreCredentialRow, request)
    return Listing(items=tuple(_view(row) for row in rows), next_page_token=token)


async def revoke_sre_credential(deps: NodeDeps, request: RevokeSreCredential) -> SreCredentialView:
    """Its connections are cut within seconds, and it is let in no more."""
    async with deps.change(request.caller, action="sre_credential.revoke") as change:
        row = await _find(change.tx, request.ref)
        revoked = change.tx.update(row, revoked_at=change.now)
        change.fact("sre_credential", "revoked", entity_id=row.id, entity_name=row.name)
        change.audit("sre_credential", row.id, entity_name=row.name, project=row.project)
    await deps.cut_links()
    return _view(revoked)


async def _find(tx: Transaction, ref: str) -> SreCredentialRow:
    row = await tx.get(SreCredentialRow, ref, lock=True)
    if row is None or row.revoked_at is not None:
        named = await tx.find(SreCredentialRow, name=ref, revoked_at=None, lock=True, limit=1)
        row = named[0] if named else None
    if row is None:
        raise NotFound(
            f"There is no credential {ref!r} that holds: `lattice user sre-credentials` shows all."
        )
    return row


def revoked_keys(rows: list[SreCredentialRow], now: datetime) -> dict[str, datetime]:
    """Public key -> when it was revoked; only of those that would hold still."""
    return {row.nkey: row.revoked_at for row in rows if row.revoked_at is not None and row.expires_at > now}
