"""The same key gets the same answer; the same key with another request is refused.

The answer is stored in the transaction of the change, so a repeated request after a crash finds either both or neither.
"""

from __future__ import annotations

from typing import TypeVar

from lattice.contracts.messages import Caller
from lattice.contracts.nouns import Noun
from lattice.errors import Invalid
from lattice.storage import Transaction
from services.registry.change import Change
from services.registry.tables import IdempotencyRow

R = TypeVar("R", bound=Noun)


def _key(caller: Caller) -> str:
    return f"{caller.actor}/{caller.idempotency_key}"


async def replay(tx: Transaction, caller: Caller, reply: type[R]) -> R | None:
    """The answer given before, or None; a request with the same key that is under way is waited for.

    Raises Invalid when the key was used for another request.
    """
    if caller.idempotency_key is None:
        return None
    await tx.lock(f"registry.answer.{_key(caller)}")
    row = await tx.get(IdempotencyRow, _key(caller))
    if row is None:
        return None
    if row.request_hash != caller.request_hash:
        raise Invalid("this Idempotency-Key was used for another request; take a new key")
    return reply.model_validate(row.reply)


def remember(change: Change, answer: R, caller: Caller | None = None) -> R:
    """Keep the answer for its key, if it has one.  `caller` where the change is made without the key of the request."""
    asked = caller or change.caller
    if asked.idempotency_key is not None:
        change.tx.add(
            IdempotencyRow(
                id=_key(asked),
                request_hash=asked.request_hash,
                reply=answer.model_dump(mode="json"),
                created_at=change.now,
            )
        )
    return answer
