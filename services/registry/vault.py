"""Secrets: stored envelope-encrypted, revealed to the registry only, sealed once per (version, node).

A secret belongs to a project (set by people), or to a volume or a workload (made by a template): `owner` says which.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from lattice.contracts.messages import SealedValue
from lattice.envelope import Envelope, MasterKeys, SecretVersion, decrypt, encrypt
from lattice.errors import NotFound
from lattice.sealing import seal
from lattice.storage import In, Transaction
from services.registry.change import Change
from services.registry.tables import NodeRow, SealedCopyRow, SecretRow, SecretVersionRow


def version_id(secret_id: str, number: int) -> str:
    """The key of one version's row."""
    return f"{secret_id}-{number}"


@dataclass(frozen=True, slots=True)
class Vault:
    """Knows the master keys; every secret value passes through here."""

    keys: MasterKeys

    def add(self, change: Change, *, project: str, owner: str, name: str, value: bytes) -> SecretRow:
        """A new secret, its first version."""
        secret = SecretRow(
            id=change.new_id("se"),
            project=project,
            owner=owner,
            name=name,
            created_at=change.now,
            updated_at=change.now,
        )
        change.tx.add(secret)
        self._add_version(change, secret, 1, value)
        return secret

    def renew(self, change: Change, secret: SecretRow, value: bytes) -> SecretRow:
        """A new version of a secret; what runs keeps the version that it was deployed with."""
        number = secret.current + 1
        self._add_version(change, secret, number, value)
        return change.tx.update(secret, current=number, updated_at=change.now)

    async def put(self, change: Change, *, project: str, owner: str, name: str, value: bytes) -> SecretRow:
        """The secret of this name with this value: new, as it is, or with a new version."""
        known = await change.tx.find(SecretRow, project=project, owner=owner, name=name, lock=True)
        if not known:
            return self.add(change, project=project, owner=owner, name=name, value=value)
        same = await self.reveal(change.tx, known[0], known[0].current) == value
        return known[0] if same else self.renew(change, known[0], value)

    async def reveal(self, tx: Transaction, secret: SecretRow, number: int) -> bytes:
        """The value of one version."""
        row = await tx.get(SecretVersionRow, version_id(secret.id, number))
        if row is None:
            raise NotFound(f"secret {secret.name} has no version {number}")
        return decrypt(Envelope.from_json(row.envelope), _bound(secret, number), self.keys)

    def _add_version(self, change: Change, secret: SecretRow, number: int, value: bytes) -> None:
        envelope = encrypt(value, _bound(secret, number), self.keys).to_json()
        row_id = version_id(secret.id, number)
        change.tx.add(
            SecretVersionRow(
                id=row_id, secret_id=secret.id, number=number, envelope=dict(envelope), created_at=change.now
            )
        )

    async def sealed_for(
        self, tx: Transaction, node: NodeRow, wanted: Sequence[tuple[str, int]]
    ) -> tuple[SealedValue, ...]:
        """These (secret id, version) sealed to the node's key, in the order of their ids; copies made before are reused."""
        ids = {
            f"{version_id(secret_id, number)}-{node.id}": (secret_id, number) for secret_id, number in wanted
        }
        known = {row.id: row for row in await tx.find(SealedCopyRow, id=In(tuple(ids)))} if ids else {}
        for copy_id, (secret_id, number) in ids.items():
            if copy_id not in known:
                known[copy_id] = tx.add(await self._seal(tx, node, secret_id, number, copy_id))
        return tuple(
            SealedValue(secret_id=row.secret_id, version=row.number, sealed=row.sealed)
            for _, row in sorted(known.items())
        )

    async def _seal(
        self, tx: Transaction, node: NodeRow, secret_id: str, number: int, copy_id: str
    ) -> SealedCopyRow:
        secret = await tx.get(SecretRow, secret_id)
        if secret is None:
            raise NotFound(f"secret {secret_id} is gone")
        sealed = base64.b64encode(seal(await self.reveal(tx, secret, number), node.sealing_key)).decode()
        return SealedCopyRow(id=copy_id, secret_id=secret_id, number=number, node_id=node.id, sealed=sealed)


def _bound(secret: SecretRow, number: int) -> SecretVersion:
    return SecretVersion(project=secret.project, secret_id=secret.id, version=number)
