"""Secrets on their way to a node: sealed boxes that only the node's own key opens.

A node makes an X25519 pair at enrolment and keeps the private half.  The registry seals each secret version
for each node that needs it, once, and sends the same bytes ever after, so an unchanged document stays
unchanged.  Whoever reads the bus, the stream's files or a backup of them sees sealed bytes.  How secrets are
kept at rest is in `lattice.envelope`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from lattice.errors import Invalid, Unauthenticated

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A node's pair; `private` (base64) is the secret and stays on the node, `public` goes into the
    enrolment.
    """

    private: str

    @property
    def public(self) -> str:
        public = PrivateKey(_key_bytes(self.private)).public_key
        return base64.b64encode(bytes(public)).decode()

    def __repr__(self) -> str:
        return f"SealingKey({self.public})"  # the private half must not reach a log


def new_sealing_key() -> SealingKey:
    return SealingKey(base64.b64encode(bytes(PrivateKey.generate())).decode())


def check_public_key(public: str) -> str:
    """The key itself, if secrets can be sealed for it.  Raises Invalid."""
    _key_bytes(public)
    return public


def seal(secret: bytes, public: str) -> bytes:
    """Bytes that only the owner of `public` can open; each call gives others, so keep the result."""
    return bytes(SealedBox(PublicKey(_key_bytes(public))).encrypt(secret))


def unseal(sealed: bytes, key: SealingKey) -> bytes:
    """What `seal` put in.  Raises Unauthenticated if it was sealed for another key or altered on the way."""
    try:
        return bytes(SealedBox(PrivateKey(_key_bytes(key.private))).decrypt(sealed))
    except (CryptoError, ValueError, TypeError) as error:
        raise Unauthenticated(
            "The secret was not sealed for this node's key: renew the node's sealing key, then deploy again."
        ) from error


def _key_bytes(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("The sealing key is not base64.") from error
    if len(raw) != KEY_BYTES:
        raise Invalid(f"The sealing key has {len(raw)} bytes instead of {KEY_BYTES}.")
    return raw
