"""The single-use right to ask for membership.  It never gives membership by itself, unless an admin made it so (`auto_approve`, for the
agent that the platform starts on its own machine)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from lattice.contracts.messages import CreateJoinToken, JoinTokenCreated
from lattice.errors import FieldError, Invalid, Unauthenticated
from lattice.join_token import SECRET_BYTES, JoinToken, secret_text
from lattice.storage import Transaction
from services.registry.node_deps import NodeDeps
from services.registry.tables import JoinTokenRow

# As `label.KEY` and a value stand in a placement constraint.
_LABEL_KEY = re.compile(r"[A-Za-z0-9_./-]{1,63}")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9_./:-]{1,128}")
_MAX_LABELS = 64
_ANOTHER = "ask an admin for another (`lattice node token`)"


async def create_join_token(deps: NodeDeps, request: CreateJoinToken) -> JoinTokenCreated:
    """Make a token; its secret is in the answer and nowhere else."""
    check_labels(request.labels)
    token = JoinToken(
        gateway_url=request.gateway_url,
        ca_fingerprint=deps.issuer.ca_fingerprint,
        secret=secret_text(deps.random_bytes(SECRET_BYTES)),
    )
    async with deps.change(request.caller, action="join_token.create") as change:
        row = change.tx.add(_row(change.new_id("jt"), token, request, change.now))
        after = {"pool": row.pool, "labels": row.labels, "auto_approve": row.auto_approve}
        change.fact("join_token", "created", entity_id=row.id, data=after)
        change.audit("join_token", row.id, after=after)
    return JoinTokenCreated(
        id=row.id, token=token.text, expires_at=row.expires_at, ca_fingerprint=token.ca_fingerprint
    )


def _row(token_id: str, token: JoinToken, request: CreateJoinToken, now: datetime) -> JoinTokenRow:
    return JoinTokenRow(
        id=token_id,
        secret_sha256=token.secret_sha256,
        pool=request.pool,
        labels=request.labels,
        auto_approve=request.auto_approve,
        created_by=request.caller.actor,
        created_at=now,
        expires_at=now + timedelta(seconds=request.ttl_s),
    )


def check_labels(labels: Mapping[str, str]) -> None:
    """Raises Invalid unless placement constraints can name every label."""
    errors = [
        FieldError(pointer=f"/labels/{key}", detail=f"{wrong} of a label cannot be {text!r}")
        for key, value in labels.items()
        for wrong, text, pattern in (("the key", key, _LABEL_KEY), ("the value", value, _LABEL_VALUE))
        if not pattern.fullmatch(text)
    ]
    if len(labels) > _MAX_LABELS:
        errors.append(FieldError(pointer="/labels", detail=f"a node has at most {_MAX_LABELS} labels"))
    if errors:
        raise Invalid(
            f"{errors[0]['detail']}: use letters, digits and _ . / - (in values also :).", errors=errors
        )


async def read_token_row(tx: Transaction, token: JoinToken) -> JoinTokenRow | None:
    """What is kept of the token, locked until the end of the transaction."""
    rows = await tx.find(JoinTokenRow, secret_sha256=token.secret_sha256, lock=True, limit=1)
    return rows[0] if rows else None


def check_token(row: JoinTokenRow | None, now: datetime) -> JoinTokenRow:
    """The row itself if it gives the right now.  Raises Unauthenticated with the reason."""
    if row is None:
        raise Unauthenticated(
            "This join token is not known: it is of another platform, or mistyped; copy it whole, or "
            + _ANOTHER
        )
    if row.used_at is not None:
        at = row.used_at.isoformat(timespec="seconds")
        raise Unauthenticated(
            f"This join token was used at {at}; each lets one machine ask once: {_ANOTHER}."
        )
    if row.expires_at <= now:
        at = row.expires_at.isoformat(timespec="seconds")
        raise Unauthenticated(f"This join token expired at {at}: {_ANOTHER}.")
    return row
