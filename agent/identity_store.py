"""Who this node is, in one private folder: its keys, made here and never sent; where its enrolment stands; its current credentials.

Each of the three is one file that is replaced in one durable step.  The files that the bus reads (certificate, CA, ticket) are written out of
them at every start and renewal, so no crash can leave a certificate beside the key of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from lattice import identity, nkey, pki, pki_files, sealing
from lattice.contracts.messages import NodeCredentials
from lattice.contracts.nouns import Noun
from lattice.errors import Invalid, NotFound
from lattice.files import PUBLIC, write_durably
from lattice.nkey import NKey
from lattice.sealing import SealingKey
from lattice.settings import BusSettings

_KEYS, _REGISTRATION, _CREDENTIALS = "keys.json", "registration.json", "credentials.json"
_TLS_KEY, _CERT, _CA, _GATEWAY_CA, _CREDS = "tls.key", "cert.pem", "ca.pem", "gateway-ca.pem", "node.creds"

N = TypeVar("N", bound=Noun)


class _Seeds(Noun):
    """The secret halves."""

    nkey_seed: str
    sealing_private: str


class Registration(Noun):
    """What the gateway answered when this machine asked for membership."""

    node_id: str
    fingerprint: str
    gateway_url: str
    name: str


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The three keys of a node."""

    tls: pki.PrivateKey
    bus: NKey
    sealing: SealingKey

    def request_pem(self, name: str) -> bytes:
        """A certificate request for the TLS key."""
        return pki.certificate_request(self.tls, name=name)

    def fingerprint(self, request_pem: bytes) -> str:
        """What people compare on both sides before they approve."""
        return pki.enrolment_fingerprint(
            request_pem, nkey=self.bus.public, sealing_key=self.sealing.public
        )  # fmt: skip


class IdentityStore:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keys(self) -> NodeKeys:
        """The node's keys; made at the first call.  Raises Invalid if their file is damaged."""
        try:
            tls = pki_files.load_key(self._folder / _TLS_KEY)
        except NotFound:
            tls = pki.new_private_key()
            pki_files.save_key(self._folder / _TLS_KEY, tls)
        seeds = self._read(_KEYS, _Seeds)
        if seeds is None:
            made = (nkey.new_key(nkey.USER), sealing.new_sealing_key())
            seeds = _Seeds(nkey_seed=made[0].seed, sealing_private=made[1].private)
            self._write(_KEYS, seeds)
        return NodeKeys(tls, nkey.read_key(seeds.nkey_seed), SealingKey(seeds.sealing_private))

    @property
    def registration(self) -> Registration | None:
        return self._read(_REGISTRATION, Registration)

    def keep_gateway_ca(self, ca_pem: bytes) -> None:
        """Remember the CA whose fingerprint was the one in the join token."""
        write_durably(self._folder / _GATEWAY_CA, ca_pem, mode=PUBLIC)

    def keep_registration(self, registration: Registration) -> None:
        """Remember where and as whom this machine asked."""
        self._write(_REGISTRATION, registration)

    def forget_registration(self) -> None:
        """Forget an enrolment that led nowhere, so that another token can be used."""
        (self._folder / _REGISTRATION).unlink(missing_ok=True)

    @property
    def credentials(self) -> NodeCredentials | None:
        return self._read(_CREDENTIALS, NodeCredentials)

    def keep_credentials(self, credentials: NodeCredentials) -> None:
        """Remember new credentials, and have the files that connections are made from."""
        self._write(_CREDENTIALS, credentials)
        self.write_out(credentials)

    def write_out(self, credentials: NodeCredentials) -> None:
        """Write the files that the bus and the HTTPS client read."""
        keys = self.keys()
        write_durably(self._folder / _CERT, credentials.certificate_pem.encode(), mode=PUBLIC)
        write_durably(self._folder / _CA, credentials.ca_pem.encode(), mode=PUBLIC)
        write_durably(self._folder / _GATEWAY_CA, credentials.ca_pem.encode(), mode=PUBLIC)
        write_durably(self._folder / _CREDS, identity.credentials(credentials.jwt, keys.bus).encode())

    @property
    def gateway_ca_file(self) -> Path:
        """The CA that the gateway's certificate must come from."""
        return self._folder / _GATEWAY_CA

    def bus_settings(self, credentials: NodeCredentials) -> BusSettings:
        """How to reach the bus as this node."""
        return BusSettings(
            urls=list(credentials.nats_urls),
            ca_file=self._folder / _CA,
            cert_file=self._folder / _CERT,
            key_file=self._folder / _TLS_KEY,
            creds_file=self._folder / _CREDS,
            server_name=credentials.nats_server_name,
        )

    def _write(self, name: str, value: Noun) -> None:
        write_durably(self._folder / name, value.model_dump_json().encode())

    def _read(self, name: str, kind: type[N]) -> N | None:
        path = self._folder / name
        try:
            return kind.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            detail = (
                f"{path} is damaged. Restore it, or delete {self._folder} and join again with a new token."
            )
            raise Invalid(detail) from None
