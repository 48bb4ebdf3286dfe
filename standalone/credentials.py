"""Who the platform's own processes are: the authorities made at the first start, and what they sign for each service.

A service's certificate and ticket are short-lived, lie in its own folder and are simply written anew, at each start and by `renewal` while
the platform runs.  Certificate and key share one file, so nobody ever reads the certificate of one pair with the key of another.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from lattice import identity, nkey, pki, pki_files
from lattice.contracts.catalogue import SERVICES
from lattice.contracts.permissions import service_permissions
from lattice.envelope import CURRENT, create_master_key, load_master_keys
from lattice.files import write_durably
from lattice.settings import BusSettings
from standalone.data_dir import DataDir
from standalone.nats_server import TlsFiles

BUS_NAME = str(BusSettings.model_fields["server_name"].default)
LOCAL_NAMES = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Authorities:
    """What signs certificates and bus tickets."""

    certificates: pki.Authority
    tickets: identity.NatsAuthority


@dataclass(frozen=True, slots=True)
class CredentialFiles:
    """Where the credentials of our processes lie."""

    folder: Path
    ca: Path

    def certificate(self, service: str) -> Path:
        """Certificate chain and key of a service as a client of the bus."""
        return self.folder / service / "bus.pem"

    def ticket(self, service: str) -> Path:
        """A service's right to speak on the bus."""
        return self.folder / service / "bus.creds"

    @property
    def system_ticket(self) -> Path:
        """The registry's right to change the bus's accounts."""
        return self.folder / "registry" / "system.creds"

    @property
    def gateway_tls(self) -> Path:
        """What the gateway presents to browsers, the CLI and machines that join."""
        return self.folder / "gateway" / "https.pem"

    @property
    def ingress_tls(self) -> Path:
        """What the ingress presents to nodes that dial it."""
        return self.folder / "ingress" / "tunnel.pem"

    @property
    def ingress_web(self) -> Path:
        """What the ingress presents to visitors of public names."""
        return self.folder / "ingress" / "web.pem"

    @property
    def nats_tls(self) -> TlsFiles:
        """What the NATS server presents, and whose clients it lets in."""
        path = self.folder / "nats" / "server.pem"
        return TlsFiles(certificate=path, key=path, ca=self.ca)


def credential_files(data_dir: DataDir) -> CredentialFiles:
    return CredentialFiles(data_dir.pki / "services", data_dir.pki / "ca.pem")


def ensure_authorities(data_dir: DataDir, *, first_start: bool, now: datetime) -> Authorities:
    """The authorities and the master key, made at the first start.

    Later a missing one raises NotFound: a new one would lock everybody out and lose every secret.
    """
    if first_start:
        _make_missing(data_dir, now)
    load_master_keys(data_dir.keys)
    return Authorities(pki_files.load_authority(data_dir.pki), identity.load(data_dir.keys))


def issue_all(
    files: CredentialFiles,
    authorities: Authorities,
    *,
    gateway_names: Iterable[str],
    bus_names: Iterable[str],
    ingress_names: Iterable[str],
    apps_domain: str,
    now: datetime,
    lifetime: timedelta,
) -> None:
    """Write new certificates and tickets for every process of the platform."""
    issue = _Issue(authorities, now, lifetime)
    for service in SERVICES:
        issue.leaf(files.certificate(service), service, ())
        issue.ticket(files.ticket(service), service)
    issue.system_ticket(files.system_ticket)
    issue.leaf(files.gateway_tls, "gateway", (*LOCAL_NAMES, *gateway_names))
    issue.leaf(files.ingress_tls, "ingress", (*LOCAL_NAMES, *ingress_names))
    issue.website(files.ingress_web, (apps_domain, f"*.{apps_domain}"))
    issue.leaf(files.nats_tls.certificate, "nats", (BUS_NAME, *LOCAL_NAMES, *bus_names))


def renew_at(issued_at: datetime, lifetime: timedelta) -> datetime:
    """When to issue again: after two thirds of the life, so that a supervisor that was away has time left."""
    return issued_at + lifetime * pki.RENEW_AFTER_PART


def split_names(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Host names and addresses, each once: a certificate lists them apart."""
    unique = list(dict.fromkeys(names))
    addresses = [name for name in unique if _is_address(name)]
    return [name for name in unique if name not in addresses], addresses


@dataclass(frozen=True, slots=True)
class _Issue:
    authorities: Authorities
    now: datetime
    lifetime: timedelta

    def leaf(self, path: Path, service: str, names: Iterable[str]) -> None:
        key, (dns_names, addresses) = pki.new_private_key(), split_names(names)
        leaf = pki.issue_service(
            self.authorities.certificates,
            key.public_key(),
            service,
            now=self.now,
            lifetime=self.lifetime,
            dns_names=dns_names,
            ip_addresses=addresses,
        )
        self._write(path, leaf, key)

    def website(self, path: Path, names: Sequence[str]) -> None:
        key, authority = pki.new_private_key(), self.authorities.certificates
        leaf = pki.issue_website(authority, key.public_key(), names, now=self.now, lifetime=self.lifetime)
        self._write(path, leaf, key)

    def _write(self, path: Path, leaf: x509.Certificate, key: pki.PrivateKey) -> None:
        write_durably(path, self.authorities.certificates.chain_pem(leaf) + pki.key_pem(key))

    def ticket(self, path: Path, service: str) -> None:
        user, permissions = nkey.new_key(nkey.USER), service_permissions(service)
        jwt = identity.service_user_jwt(
            self.authorities.tickets,
            service,
            user.public,
            permissions,
            issued_at=self.now,
            expires_at=self.now + self.lifetime,
            may_reply=permissions.may_reply,
        )
        write_durably(path, identity.credentials(jwt, user).encode())

    def system_ticket(self, path: Path) -> None:
        user = nkey.new_key(nkey.USER)
        jwt = identity.system_user_jwt(
            self.authorities.tickets,
            "registry",
            user.public,
            issued_at=self.now,
            expires_at=self.now + self.lifetime,
        )
        write_durably(path, identity.credentials(jwt, user).encode())


def _make_missing(data_dir: DataDir, now: datetime) -> None:
    """A first start that was cut off is continued where it ended."""
    if not (data_dir.pki / "authority.pem").exists():
        pki_files.save_authority(
            data_dir.pki, pki.create_authority(name=f"Lattice {data_dir.cluster_id}", now=now)
        )
    if not (data_dir.keys / identity.KEPT_AS).exists():
        identity.save(data_dir.keys, identity.new_authority(now=now))
    if not (data_dir.keys / CURRENT).exists():
        create_master_key(data_dir.keys)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
