"""That a request comes from the node it names: a signature by the node's bus key over the request and the time.

A copied proof is worth little: within five minutes it fetches a certificate and a ticket that nobody can use without the node's private
keys.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timedelta

from lattice import identity, nkey
from lattice.contracts.messages import NodeProof
from lattice.errors import Invalid, Unauthenticated


def check_proof(
    proof: NodeProof, public_key: str, *, purpose: str, body: bytes, now: datetime, tolerance: timedelta
) -> None:
    """Raises Unauthenticated unless the owner of the key signed this request, with a clock like ours; Invalid for a time without zone."""
    if proof.signed_at.tzinfo is None:
        raise Invalid("`signed_at` has no time zone: write it in UTC, ending in Z.")
    signed = identity.proof_bytes(purpose, proof.node_id, proof.signed_at, body)
    nkey.verify(public_key, signed, _signature(proof))
    ahead = proof.signed_at - now
    if abs(ahead) > tolerance:
        raise Unauthenticated(
            f"The node's clock is {_minutes(abs(ahead))} {'ahead of' if ahead > timedelta() else 'behind'} the "
            f"platform's (at most {_minutes(tolerance)} are allowed): set the clock of the machine and try again."
        )


def _signature(proof: NodeProof) -> bytes:
    try:
        return base64.b64decode(proof.signature, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unauthenticated("The signature is not base64.") from error


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:.0f} min"
