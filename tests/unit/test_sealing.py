"""Secrets: only the right key opens them, nothing altered opens at all, and rotation loses none."""

from __future__ import annotations

import base64
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice import envelope, sealing
from lattice.errors import Conflict, Invalid, NotFound, Unauthenticated

SECRET = b"correct horse battery staple"
OWNER = envelope.SecretVersion(project="default", secret_id="s1", version=3)


@pytest.fixture
def keys(tmp_path: Path) -> envelope.MasterKeys:
    return envelope.create_master_key(tmp_path)


# --- sealed for a node -------------------------------------------------------------------------------------


@given(st.binary(max_size=2000))
def test_only_the_node_opens_what_was_sealed_for_it(secret: bytes) -> None:
    node, other = sealing.new_sealing_key(), sealing.new_sealing_key()
    sealed = sealing.seal(secret, node.public)
    assert sealing.unseal(sealed, node) == secret
    with pytest.raises(Unauthenticated, match="not sealed for this node"):
        sealing.unseal(sealed, other)


def test_an_altered_or_cut_box_does_not_open() -> None:
    node = sealing.new_sealing_key()
    sealed = sealing.seal(SECRET, node.public)
    for bad in (sealed[:-1], sealed[:10], b"", sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(Unauthenticated):
            sealing.unseal(bad, node)


@pytest.mark.parametrize("key", ["", "!!", "AAAA", base64.b64encode(b"x" * 33).decode(), "é"])
def test_a_public_key_is_checked_before_anything_is_sealed(key: str) -> None:
    with pytest.raises(Invalid, match="sealing key"):
        sealing.check_public_key(key)
    with pytest.raises(Invalid, match="sealing key"):
        sealing.seal(SECRET, key)


def test_private_halves_never_show() -> None:
    node = sealing.new_sealing_key()
    assert node.private not in repr(node) and node.public in repr(node)


# --- at rest -----------------------------------------------------------------------------------------------


def test_a_secret_comes_back_through_json(keys: envelope.MasterKeys) -> None:
    stored = envelope.encrypt(SECRET, OWNER, keys).to_json()
    assert SECRET not in base64.b64decode(stored["ciphertext"])
    assert envelope.decrypt(envelope.Envelope.from_json(stored), OWNER, keys) == SECRET


def test_equal_secrets_look_different(keys: envelope.MasterKeys) -> None:
    first, second = (envelope.encrypt(SECRET, OWNER, keys) for _ in range(2))
    assert first.ciphertext != second.ciphertext and first.wrapped_key != second.wrapped_key


@pytest.mark.parametrize(
    "other", [replace(OWNER, project="p2"), replace(OWNER, secret_id="s2"), replace(OWNER, version=4)]
)
def test_an_envelope_moved_elsewhere_does_not_open(
    keys: envelope.MasterKeys, other: envelope.SecretVersion
) -> None:
    with pytest.raises(Invalid, match="altered or belongs elsewhere"):
        envelope.decrypt(envelope.encrypt(SECRET, OWNER, keys), other, keys)


@pytest.mark.parametrize("field", ["wrapped_key", "ciphertext"])
@pytest.mark.parametrize("position", [0, 12, -1])
def test_one_altered_byte_is_noticed(keys: envelope.MasterKeys, field: str, position: int) -> None:
    good = envelope.encrypt(SECRET, OWNER, keys)
    raw = bytearray(base64.b64decode(getattr(good, field)))
    raw[position] ^= 1
    bad = replace(good, **{field: base64.b64encode(raw).decode()})
    with pytest.raises(Invalid, match="altered"):
        envelope.decrypt(bad, OWNER, keys)


@pytest.mark.parametrize(
    "stored", [{}, {"key_id": "a"}, {"key_id": "a", "wrapped_key": "b", "ciphertext": 1}, {"x": "y"}]
)
def test_a_damaged_row_is_refused(stored: dict[str, object]) -> None:
    with pytest.raises(Invalid, match="damaged"):
        envelope.Envelope.from_json(stored)


def test_rotation_keeps_every_secret_readable(tmp_path: Path, keys: envelope.MasterKeys) -> None:
    old = envelope.encrypt(SECRET, OWNER, keys)
    rotated = envelope.rotate_master_key(tmp_path)
    assert envelope.decrypt(old, OWNER, rotated) == SECRET
    moved = envelope.rewrap(old, OWNER, rotated)
    assert moved.ciphertext == old.ciphertext and moved.key_id == envelope.key_id(rotated.current)
    assert envelope.rewrap(moved, OWNER, rotated) is moved
    only_new = envelope.forget_old_keys(tmp_path)
    assert envelope.decrypt(moved, OWNER, only_new) == SECRET
    with pytest.raises(NotFound, match=old.key_id):
        envelope.decrypt(old, OWNER, only_new)


def test_the_master_key_is_private_and_never_replaced(tmp_path: Path, keys: envelope.MasterKeys) -> None:
    assert stat.S_IMODE((tmp_path / envelope.CURRENT).stat().st_mode) == 0o600
    with pytest.raises(Conflict, match="exists already"):
        envelope.create_master_key(tmp_path)
    assert envelope.load_master_keys(tmp_path) == keys
    assert keys.current.hex() not in repr(keys) and repr(keys.current) not in repr(keys)


def test_a_missing_or_cut_master_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"master\.key"):
        envelope.load_master_keys(tmp_path)
    (tmp_path / envelope.CURRENT).write_bytes(b"short")
    with pytest.raises(Invalid, match="5 bytes"):
        envelope.load_master_keys(tmp_path)
