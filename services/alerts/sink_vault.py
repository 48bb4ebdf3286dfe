"""The addresses of sinks at rest: envelope-encrypted under a key that lies outside Postgres and belongs to this service alone."""

from __future__ import annotations

from dataclasses import dataclass

from lattice.envelope import Envelope, MasterKeys, SecretVersion, decrypt, encrypt
from services.alerts.tables import SinkRow

_TENANT = "_platform"


@dataclass(frozen=True, slots=True)
class SinkVault:
    """Seals and opens them."""

    keys: MasterKeys

    def seal(self, sink_id: str, url: str) -> dict[str, str]:
        """The envelope of a new sink's address."""
        return encrypt(url.encode(), _place(sink_id), self.keys).to_json()

    def url(self, row: SinkRow) -> str:
        """The address.  Raises Invalid or NotFound where it cannot be opened."""
        return decrypt(Envelope.from_json(row.envelope), _place(row.id), self.keys).decode()


def _place(sink_id: str) -> SecretVersion:
    return SecretVersion(_TENANT, sink_id, 1)
