"""The same Idempotency-Key gives the same answer, for what the gateway itself makes (the registry keeps its own answers).

The answer is stored with the change in one transaction, for a day.  It may hold a new token, so it is sealed with a key derived from the
caller's own credential, which is stored nowhere: a copy of the database reveals nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from os import urandom
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel

from lattice.contracts.messages import Caller
from lattice.errors import Conflict, Invalid
from lattice.storage import Store, Transaction
from services.gateway.tables import AnswerRow

M = TypeVar("M", bound=BaseModel)
KEPT_FOR = timedelta(days=1)
_NONCE_BYTES = 12


async def once(
    store: Store,
    caller: Caller,
    now: datetime,
    credential: str | None,
    kind: type[M],
    work: Callable[[Transaction], Awaitable[M]],
) -> M:
    """Do the work, or answer what it answered under this key; Invalid if the key was used for another request."""
    async with store.transaction() as tx:
        if caller.idempotency_key is None:
            return await work(tx)
        row_id = hashlib.sha256(f"{caller.actor}\n{caller.idempotency_key}".encode()).hexdigest()
        await tx.lock(f"gateway.answer.{row_id}")
        kept = await tx.get(AnswerRow, row_id)
        if kept is not None and kept.expires_at > now:
            return kind.model_validate_json(_unsealed(kept, caller, credential or ""))
        answer = await work(tx)
        sealed = _sealed(answer.model_dump_json().encode(), row_id, credential or "")
        _remember(tx, kept, AnswerRow(
            id=row_id, request_hash=caller.request_hash, sealed=sealed, expires_at=now + KEPT_FOR
        ))  # fmt: skip
        return answer


def _remember(tx: Transaction, old: AnswerRow | None, new: AnswerRow) -> None:
    if old is None:
        tx.add(new)
    else:
        tx.update(old, request_hash=new.request_hash, sealed=new.sealed, expires_at=new.expires_at)


def _unsealed(kept: AnswerRow, caller: Caller, credential: str) -> bytes:
    if kept.request_hash != caller.request_hash:
        raise Invalid(
            "This Idempotency-Key was used for another request. Use a new key for a new request.",
            errors=[{"pointer": "/header/Idempotency-Key", "detail": "used for another request"}],
        )
    raw = base64.b64decode(kept.sealed)
    try:
        return _cipher(credential).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], kept.id.encode())
    except InvalidTag:
        raise Conflict(
            "This was done already, by a request with another token: the answer can be shown only to that one. "
            "Look at what exists, and use a new Idempotency-Key to make more."
        ) from None


def _sealed(answer: bytes, row_id: str, credential: str) -> str:
    nonce = urandom(_NONCE_BYTES)
    return base64.b64encode(nonce + _cipher(credential).encrypt(nonce, answer, row_id.encode())).decode()


def _cipher(credential: str) -> AESGCM:
    derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"lattice idempotent answer")
    return AESGCM(derive.derive(credential.encode()))
