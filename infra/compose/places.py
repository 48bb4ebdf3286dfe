"""Where the volumes are mounted, and whose each of them is.

A container gets only the volumes that it needs, at the same path in each of them, because the bus's configuration names its files by path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lattice.contracts.catalogue import SERVICES
from standalone.credentials import CredentialFiles
from standalone.data_dir import DataDir

BUS_SERVER = "nats"
DATABASE_SERVER = "postgres"


@dataclass(frozen=True, slots=True)
class Account:
    """A user inside the containers; its group has the same number."""

    number: int


LATTICE = Account(10001)
POSTGRES = Account(999)


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
    def credentials(self) -> CredentialFiles:
        return CredentialFiles(self.root / "services", self.ca)

    def own(self, part: str) -> Path:
        """What only this part may read."""
        return self.credentials.folder / part

    def operator(self, cluster_id: str) -> DataDir:
        """A data directory that holds only what lets people in: the operator's token and the secret for the first admin."""
        return DataDir(self.entry, cluster_id)

    @property
    def entry(self) -> Path:
        return self.root / "operator"

    def owners(self) -> Mapping[Path, Account]:
        """Whose each volume is."""
        shared = (self.authority, self.ca.parent, self.passwords, self.entry)
        ours = (*shared, self.bus, self.log_store, *(self.own(part) for part in (*SERVICES, BUS_SERVER)))
        theirs = (self.own(DATABASE_SERVER), self.database)
        return {**dict.fromkeys(ours, LATTICE), **dict.fromkeys(theirs, POSTGRES)}


def own_volumes(owners: Mapping[Path, Account]) -> None:
    """Give each volume to its owner; a fresh one belongs to root.  Only root can, for anybody else nothing happens."""
    if os.geteuid() != 0:
        return
    for folder, owner in owners.items():
        if folder.stat().st_uid != owner.number:
            os.chown(folder, owner.number, owner.number)
            with acting_as(owner):
                folder.chmod(0o700)


@contextmanager
def acting_as(account: Account) -> Iterator[None]:
    """Be this user for a while, so that files are made with the right owner; who is not root stays who it is.

    It also needs no right to overrule the modes of files, so the container does not have that one.
    """
    if os.geteuid() != 0:
        yield
        return
    os.setegid(account.number)
    os.seteuid(account.number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
