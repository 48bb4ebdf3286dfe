"""How a workload is reached: what its revision says of that, with its secrets filled in.  Who asks, and whether that is recorded, is the caller's."""

from __future__ import annotations

from collections.abc import Mapping

from lattice.contracts.environment_spec import CredentialKey
from lattice.errors import NotFound
from lattice.storage import Transaction
from services.registry.tables import RevisionRow, SecretRow
from services.registry.template import Access, fill
from services.registry.vault import Vault


def access_to(revision: RevisionRow) -> Access | None:
    """None for a workload without a port."""
    return None if revision.access is None else Access.model_validate(revision.access["access"])


async def places_in(
    vault: Vault, tx: Transaction, revision: RevisionRow, *, host: str, port: int, ca_file: str = ""
) -> dict[str, str]:
    """What stands for each `${place}` of the revision's access, at this address."""
    stored = revision.access or {"places": {}, "secrets": {}}
    places = {**stored["places"], "host": host, "port": str(port), "ca_file": ca_file}
    for name, secret_id in stored["secrets"].items():
        secret = await tx.get(SecretRow, secret_id)
        if secret is None:
            raise NotFound(f"the secret {name} of this workload is gone")
        places[f"secrets.{name}"] = (await vault.reveal(tx, secret, secret.current)).decode()
    return places


def parts(access: Access, places: Mapping[str, str]) -> dict[CredentialKey, str]:
    """The credentials, part by part; a part that there is not is empty.  The CA is not the workload's own, and not here."""
    ca_option = access.uri_ca_option if places["ca_file"] else ""
    return {
        CredentialKey.URI: fill(access.uri + ca_option, places),
        CredentialKey.HOST: places["host"],
        CredentialKey.PORT: places["port"],
        CredentialKey.USERNAME: fill(access.username, places),
        CredentialKey.PASSWORD: fill(access.password, places),
        CredentialKey.DATABASE: fill(access.database, places),
    }
