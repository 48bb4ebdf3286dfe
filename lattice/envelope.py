"""Secrets at rest: each version is encrypted with a key of its own, and that key is wrapped by a master key.

The master key lies in a file outside Postgres, so a stolen database or backup reveals nothing.  Project, id
and version are bound to the ciphertext: an envelope moved to another row does not open.  To rotate,
`rotate_master_key` makes a new key, `rewrap` moves each envelope over without touching the secret itself, and
`forget_old_keys` ends it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lattice.errors import Conflict, Invalid, NotFound
from lattice.files import flush_folder, write_durably

KEY_BYTES = 32
NONCE_BYTES = 12
CURRENT = "master.key"


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """What an envelope belongs to; part of what is authenticated."""

    project: str
    secret_id: str
    version: int

    def bound(self) -> bytes:
        return json.dumps(["lattice-secret-1", self.project, self.secret_id, self.version]).encode()


@dataclass(frozen=True, slots=True)
class Envelope:
    """An encrypted secret: the id of the master key, the wrapped data key and the ciphertext (all base64)."""

    key_id: str
    wrapped_key: str
    ciphertext: str

    def to_json(self) -> dict[str, str]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Envelope:
        """Raises Invalid unless it has exactly the three texts."""
        texts = {name: text for name, text in value.items() if isinstance(text, str)}
        if set(texts) != {"key_id", "wrapped_key", "ciphertext"} or len(texts) != len(value):
            raise Invalid("The stored secret is damaged: restore it from a backup or set it again.")
        return cls(**texts)


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """The master key that wraps, and those that still open what was wrapped before."""

    current: bytes
    previous: tuple[bytes, ...] = ()

    def find(self, wanted: str) -> bytes:
        """Raises NotFound: the envelope was made under a key that is not here."""
        for key in (self.current, *self.previous):
            if key_id(key) == wanted:
                return key
        raise NotFound(f"The master key {wanted} is missing: put its file back into the key folder.")

    def __repr__(self) -> str:
        return (
            f"MasterKeys(current={key_id(self.current)}, previous={[key_id(key) for key in self.previous]})"
        )


def key_id(key: bytes) -> str:
    """The name of a master key: says which one it is, and nothing about it."""
    return hashlib.sha256(b"lattice-master-key-1" + key).hexdigest()[:16]


def encrypt(secret: bytes, of: SecretVersion, keys: MasterKeys) -> Envelope:
    """The envelope of a secret version, under a data key used for nothing else."""
    data_key = AESGCM.generate_key(bit_length=256)
    wrapped = _encrypt(keys.current, data_key, of.bound())
    return Envelope(key_id(keys.current), wrapped, _encrypt(data_key, secret, of.bound()))


def decrypt(envelope: Envelope, of: SecretVersion, keys: MasterKeys) -> bytes:
    """The secret.  Raises NotFound without its master key, Invalid if altered or moved from another
    secret.
    """
    data_key = _decrypt(keys.find(envelope.key_id), envelope.wrapped_key, of)
    return _decrypt(data_key, envelope.ciphertext, of)


def rewrap(envelope: Envelope, of: SecretVersion, keys: MasterKeys) -> Envelope:
    """The same secret under the current master key; an envelope that is there already comes back as it is."""
    if envelope.key_id == key_id(keys.current):
        return envelope
    data_key = _decrypt(keys.find(envelope.key_id), envelope.wrapped_key, of)
    return replace(
        envelope, key_id=key_id(keys.current), wrapped_key=_encrypt(keys.current, data_key, of.bound())
    )


def create_master_key(folder: Path) -> MasterKeys:
    """The first master key of a cluster.  Raises Conflict if there is one: overwriting it would lose every
    secret.
    """
    if (folder / CURRENT).exists():
        raise Conflict(f"{folder / CURRENT} exists already: it opens the stored secrets and is not replaced.")
    write_durably(folder / CURRENT, os.urandom(KEY_BYTES))
    return load_master_keys(folder)


def ensure_master_keys(folder: Path) -> MasterKeys:
    """The keys of a folder, made where there are none: for secrets that people can give again."""
    return load_master_keys(folder) if (folder / CURRENT).exists() else create_master_key(folder)


def load_master_keys(folder: Path) -> MasterKeys:
    """The keys of a folder.  Raises NotFound or Invalid."""
    previous = sorted(folder.glob("master-*.key"))
    return MasterKeys(_read_key(folder / CURRENT), tuple(_read_key(path) for path in previous))


def rotate_master_key(folder: Path) -> MasterKeys:
    """A new current key.  The old one is kept under its id first, so a crash in between loses nothing."""
    old = load_master_keys(folder).current
    write_durably(folder / f"master-{key_id(old)}.key", old)
    write_durably(folder / CURRENT, os.urandom(KEY_BYTES))
    return load_master_keys(folder)


def forget_old_keys(folder: Path) -> MasterKeys:
    """Remove the previous keys; only once every envelope was rewrapped, since what is left under them is
    lost.
    """
    for path in folder.glob("master-*.key"):
        path.unlink()
    flush_folder(folder)
    return load_master_keys(folder)


def _read_key(path: Path) -> bytes:
    try:
        key = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist: without it the stored secrets cannot be read.") from error
    if len(key) != KEY_BYTES:
        raise Invalid(f"{path} has {len(key)} bytes instead of {KEY_BYTES}: restore it from a backup.")
    return key


def _encrypt(key: bytes, plain: bytes, bound: bytes) -> str:
    nonce = os.urandom(NONCE_BYTES)
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, plain, bound)).decode()


def _decrypt(key: bytes, text: str, of: SecretVersion) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
        return AESGCM(key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], of.bound())
    except (InvalidTag, ValueError) as error:
        where = f"{of.secret_id} version {of.version} of project {of.project}"
        raise Invalid(f"The stored secret {where} was altered or belongs elsewhere: set it again.") from error
