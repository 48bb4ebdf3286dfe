"""The secrets that lie in a platform's data directory, as texts: for taking them out of what leaves this machine.

Whatever is in a folder of keys is taken for a secret, line by line and, in JSON, value by value, so a kind of key that is added later is
covered without anybody thinking of it here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from standalone.data_dir import DataDir

# A file in which a secret lies is small; anything larger is data.
LARGEST_FILE = 64 * 1024
# Certificates, and tickets that are worth nothing without their key; the redactor knows the form of the latter.
_PUBLIC_NAMES = ("ca.pem", "gateway-ca.pem", "cert.pem", "registration.json", "credentials.json")


def known_secrets(data_dir: DataDir) -> Iterator[str]:
    """Every secret of this platform that lies in a file, in the notations in which it may be written."""
    for folder in (data_dir.keys, data_dir.pki, data_dir.agent / "identity"):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name not in _PUBLIC_NAMES and path.stat().st_size <= LARGEST_FILE:
                yield from texts_of(path.read_bytes())
    password = data_dir.postgres / "superuser-password"
    if password.exists():
        yield password.read_text().strip()


def texts_of(content: bytes) -> Iterator[str]:
    """What may be found of a secret file's content in a text."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        yield from (
            content.hex(),
            base64.b64encode(content).decode(),
            base64.urlsafe_b64encode(content).decode(),
        )
        return
    yield from (line.strip() for line in text.splitlines() if not line.startswith("-----"))
    try:
        yield from _values(json.loads(text))
    except ValueError:
        return


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _values(each)
    elif isinstance(value, list):
        for each in value:
            yield from _values(each)
    elif isinstance(value, str):
        yield value
