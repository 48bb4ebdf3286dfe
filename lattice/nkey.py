"""Keys of the message bus: Ed25519 pairs in the notation of NATS, where the first letter says whose key it
is.

Public keys begin with O (operator), A (account) or U (user), seeds with SO, SA, SU; both end in a checksum.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass

import nacl.exceptions
import nacl.signing
import nkeys

from lattice.errors import Invalid, Unauthenticated

OPERATOR: int = nkeys.PREFIX_BYTE_OPERATOR
ACCOUNT: int = nkeys.PREFIX_BYTE_ACCOUNT
USER: int = nkeys.PREFIX_BYTE_USER

_CHECKSUM_BYTES = 2


@dataclass(frozen=True, slots=True)
class NKey:
    """An Ed25519 key pair in the notation of NATS; `seed` is the secret."""

    seed: str

    @property
    def public(self) -> str:
        return str(_pair(self.seed).public_key.decode().rstrip("="))

    def sign(self, data: bytes) -> bytes:
        return bytes(_pair(self.seed).sign(data))

    def __repr__(self) -> str:
        return f"NKey({self.public})"  # the seed must not reach a log


def new_key(kind: int) -> NKey:
    """A new key of kind OPERATOR, ACCOUNT or USER."""
    return NKey(nkeys.encode_seed(os.urandom(32), kind).decode())


def read_key(seed: str) -> NKey:
    """The key of a seed that came from a file.  Raises Invalid if it is none."""
    try:
        _pair(seed)
    except (nkeys.NkeysError, ValueError, AttributeError) as error:
        raise Invalid("The seed of a bus key is damaged.") from error
    return NKey(seed)


def check_user_key(public_key: str) -> str:
    """The key itself, if it is the public key of a user.  Raises Invalid."""
    if _raw(public_key)[0] != USER:
        raise _not_a_key(public_key, "a bus user, which begins with U")
    return public_key


def verify(public_key: str, data: bytes, signature: bytes) -> None:
    """Raises Unauthenticated unless the key made `signature` over `data`, Invalid if that is no key."""
    try:
        nacl.signing.VerifyKey(_raw(public_key)[1:]).verify(data, signature)
    except (nacl.exceptions.CryptoError, ValueError) as error:
        raise Unauthenticated("The signature does not fit the key.") from error


def _raw(public_key: str) -> bytes:
    """The kind and the 32 bytes of a public key, once its length and checksum are right."""
    try:
        raw = base64.b32decode(public_key + "=" * (-len(public_key) % 8))
    except (binascii.Error, ValueError) as error:
        raise _not_a_key(public_key, "the bus") from error
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if len(body) != 33 or binascii.crc_hqx(body, 0) != int.from_bytes(checksum, "little"):
        raise _not_a_key(public_key, "the bus")
    return body


def _not_a_key(text: str, whose: str) -> Invalid:
    return Invalid(f"{text[:80]!r} is not a public key of {whose}.")


def _pair(seed: str) -> nkeys.KeyPair:
    return nkeys.from_seed(bytearray(seed.encode()))
