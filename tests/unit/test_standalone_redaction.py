"""No secret leaves the machine in a support bundle: neither one that is known, nor one of a known form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice import nkey, pki
from standalone.data_dir import open_data_dir
from standalone.redaction import MARK, SHORTEST, Redactor
from standalone.secret_values import known_secrets, texts_of

PLAIN = Redactor()
SEED = nkey.new_key(nkey.USER).seed
PEM = pki.key_pem(pki.new_private_key()).decode()


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("token lat_01k82i27lof069sfe69booog9m_huf7dqd3ocpepgim3kk52z3u in use", "huf7dqd3ocpepgim3kk52z3u"),
        ("join with lattice-join.eyJ1IjoiaHR0cHM6Ly8xIn0", "eyJ1IjoiaHR0cHM6Ly8xIn0"),
        (f"seed {SEED}.", SEED),
        ("eyJ0eXAiOiJKV1QifQ.eyJqdGkiOiJBIn0.c2lnbmF0dXJl", "c2lnbmF0dXJl"),
        (f"key:\n{PEM}after", PEM.splitlines()[1]),
        (PEM[: len(PEM) // 2], PEM.splitlines()[1]),
        ("Authorization: Bearer abcdefgh", "abcdefgh"),
        ("authorization: basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("postgresql+asyncpg://me:p%40ss/w:rd@127.0.0.1:5432/db", "p%40ss/w:rd"),
        ("redis://:only-a-password@h:1", "only-a-password"),
        ('{"password": "hunter2hunter2"}', "hunter2hunter2"),
        ("POSTGRES_PASSWORD=hunter2hunter2 next", "hunter2hunter2"),
        ("api-key: 0123456789", "0123456789"),
    ],
    # Several workers must see the same names, and some of these keys are new in each of them.
    ids=[
        "token", "join-token", "seed", "jwt", "key", "half-a-key", "bearer", "basic",
        "postgres", "redis", "json", "variable", "api-key",
    ],
)  # fmt: skip
def test_forms_of_secrets_are_recognised(text: str, secret: str) -> None:
    assert secret in text
    cleaned = PLAIN.clean(text)
    assert secret not in cleaned and MARK in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "registry is ready (2.2 s)",
        "https://127.0.0.1:26047/readyz answers 200",
        "node nd-01k82i2aote3iqo51ap886govs is ready",
        "sha256:bb2dcfc78325 lattice.local/postgres:15.20",
        "the tokens of a round are used up",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert PLAIN.clean(text) == text


SECRETS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Z", "C")), min_size=SHORTEST, max_size=60
)


@given(st.lists(SECRETS, min_size=1, max_size=4), st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_known_secrets_never_stay(secrets: list[str], between: list[str]) -> None:
    redactor = Redactor(secrets)
    text = "".join(piece + secret for piece in between for secret in secrets)
    cleaned = redactor.clean(text)
    for secret in secrets:
        assert secret.strip() not in cleaned.replace(MARK, "") or secret.strip() in MARK


@given(st.text(max_size=200))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = PLAIN.clean(text)
    assert PLAIN.clean(once) == once


def test_short_texts_are_no_secrets() -> None:
    assert Redactor(["ready"]).clean("it is ready") == "it is ready"


def test_the_notations_of_a_binary_key() -> None:
    key = bytes(range(200, 232))
    found = set(texts_of(key))
    assert key.hex() in found and len(found) == 3


def test_what_lies_in_a_data_directory_is_known(tmp_path: Path) -> None:
    data_dir = open_data_dir(tmp_path / "data")
    (data_dir.keys / "some.json").write_text(json.dumps({"a": [{"seed": "deep-secret-value"}]}))
    (data_dir.pki / "services" / "x").mkdir(parents=True)
    (data_dir.pki / "services" / "x" / "bus.pem").write_text(PEM)
    (data_dir.agent / "identity").mkdir()
    (data_dir.agent / "identity" / "keys.json").write_text(json.dumps({"nkey_seed": SEED}))
    (data_dir.agent / "identity" / "registration.json").write_text(json.dumps({"name": "my-machine"}))
    (data_dir.postgres / "superuser-password").write_text("root-of-postgres\n")
    found = set(known_secrets(data_dir))
    assert {"deep-secret-value", SEED, "root-of-postgres", PEM.splitlines()[1]} <= found
    assert "my-machine" not in found and "-----BEGIN PRIVATE KEY-----" not in found
