"""Where the volumes are mounted.

A container gets only the volumes that it needs, each at the same path in all of them, because the bus's configuration names its files by path.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from standalone.data_dir import DataDir

BUS_SERVER = "nats"
DATABASE_SERVER = "postgres"


@dataclass(frozen=True, slots=True)
class Places:
    """The folders below `root`, each of them a volume of its own."""

    root: Path

    @property
    def authority(self) -> Path:
        """A data directory that holds what signs, and the master key of secrets."""
        return self.root / "authority"

    @property
    def ca(self) -> Path:
        """The certificate authority that everybody trusts."""
        return self.root / "trust" / "ca.pem"

    @property
    def passwords(self) -> Path:
        """The password of the database's administrator and of each service that keeps state."""
        return self.root / "passwords"

    @property
    def entry(self) -> Path:
        """What lets people in: the operator's token and the secret for the first admin."""
        return self.root / "operator"

    @property
    def bus(self) -> Path:
        """Configuration and streams of the NATS server."""
        return self.root / "nats"

    @property
    def database(self) -> Path:
        """The files of Postgres."""
        return self.root / "postgres"

    @property
    def log_store(self) -> Path:
        """What workloads wrote."""
        return self.root / "log-store"

    @property
    def alert_keys(self) -> Path:
        """The key of the addresses to which alerts are told."""
        return self.root / "alert-keys"

    @property
    def metrics(self) -> Path:
        """The last day of what was measured."""
        return self.root / "metrics"

    @property
    def services(self) -> Path:
        """A volume for each part, with what only this part may read."""
        return self.root / "services"

    def own(self, part: str) -> Path:
        return self.services / part

    def operator(self, cluster_id: str) -> DataDir:
        """`entry` as a data directory, for the code that makes and reads what is in it."""
        return DataDir(self.entry, cluster_id)
