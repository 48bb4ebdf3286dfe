"""What the platform's own processes are issued: for whom, for how long, and what they may do on the bus."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from lattice import identity, pki, pki_files
from lattice.contracts.catalogue import SERVICES
from lattice.contracts.permissions import service_permissions
from lattice.errors import NotFound
from standalone.credentials import (
    Authorities,
    CredentialFiles,
    credential_files,
    ensure_authorities,
    issue_all,
    renew_at,
    split_names,
)
from standalone.data_dir import DataDir, open_data_dir

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    return open_data_dir(tmp_path_factory.mktemp("credentials") / "data", choose_id=lambda: "abcd1234")


@pytest.fixture(scope="module")
def authorities(data_dir: DataDir) -> Authorities:
    return ensure_authorities(data_dir, first_start=True, now=NOW)


@pytest.fixture(scope="module")
def issued(data_dir: DataDir, authorities: Authorities) -> CredentialFiles:
    files = credential_files(data_dir)
    issue_all(
        files, authorities, gateway_names=("box.example", "10.0.0.7"), bus_names=("10.0.0.7",), ingress_names=("10.0.0.7",),
        apps_domain="apps.example", now=NOW, lifetime=DAY,
    )  # fmt: skip
    return files


def test_a_later_start_finds_the_same_authorities(data_dir: DataDir, authorities: Authorities) -> None:
    again = ensure_authorities(data_dir, first_start=False, now=NOW + DAY)
    assert again.tickets == authorities.tickets
    assert again.certificates.root == authorities.certificates.root


@pytest.mark.parametrize("lost", ["pki/authority.pem", "keys/nats-authority.json", "keys/master.key"])
def test_a_lost_key_is_never_replaced(tmp_path: Path, lost: str) -> None:
    own = open_data_dir(tmp_path / "data")
    ensure_authorities(own, first_start=True, now=NOW)
    (own.root / lost).unlink()
    with pytest.raises(NotFound, match=Path(lost).name):
        ensure_authorities(own, first_start=False, now=NOW)
    assert not (own.root / lost).exists()


def test_a_first_start_that_was_cut_off_is_continued(tmp_path: Path) -> None:
    own = open_data_dir(tmp_path / "data")
    first = ensure_authorities(own, first_start=True, now=NOW)
    (own.keys / "master.key").unlink()
    assert ensure_authorities(own, first_start=True, now=NOW).tickets == first.tickets
    assert (own.keys / "master.key").exists()


@pytest.mark.parametrize("service", SERVICES)
def test_a_ticket_says_what_its_service_may_do(issued: CredentialFiles, service: str) -> None:
    text = issued.ticket(service).read_text()
    claims = identity.decode(text.splitlines()[1])
    allowed = service_permissions(service)
    assert claims["name"] == service and claims["exp"] == int((NOW + DAY).timestamp())
    assert set(claims["nats"]["pub"]["allow"]) == set(allowed.publish)
    assert ("resp" in claims["nats"]) is allowed.may_reply
    assert stat.S_IMODE(issued.ticket(service).stat().st_mode) == 0o600


@pytest.mark.parametrize("service", SERVICES)
def test_certificate_and_key_share_a_private_file(issued: CredentialFiles, service: str) -> None:
    path = issued.certificate(service)
    leaf, issuing = pki_files.load_chain(path)
    assert leaf.public_key() == pki_files.load_key(path).public_key() and leaf.issuer == issuing.subject
    assert leaf.not_valid_after_utc == NOW + DAY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert pki_files.client_context(issued.ca, certificate_file=path, key_file=path).check_hostname


def names_in(path: Path) -> str:
    return str(pki_files.load_chain(path)[0].extensions)


def test_servers_carry_the_names_they_are_called_by(issued: CredentialFiles) -> None:
    gateway, bus = names_in(issued.gateway_tls), names_in(issued.nats_tls.certificate)
    assert all(name in gateway for name in ("127.0.0.1", "localhost", "box.example", "10.0.0.7"))
    assert all(name in bus for name in ("nats.lattice.internal", "127.0.0.1", "localhost", "10.0.0.7"))
    assert "box.example" not in bus


def test_public_names_have_a_certificate_of_their_own_that_speaks_for_nobody(issued: CredentialFiles) -> None:
    leaf = pki_files.load_chain(issued.ingress_web)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["apps.example", "*.apps.example"]
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.SERVER_AUTH] and pki.service_of(leaf) is None
    tunnel = pki_files.load_chain(issued.ingress_tls)[0]
    assert leaf.public_key() != tunnel.public_key() and leaf.not_valid_after_utc == NOW + DAY
    assert "apps.example" not in names_in(issued.ingress_tls)


def test_the_registry_alone_may_change_the_buss_accounts(
    issued: CredentialFiles, authorities: Authorities
) -> None:
    claims = identity.decode(issued.system_ticket.read_text().splitlines()[1])
    assert claims["nats"]["issuer_account"] == authorities.tickets.system_account.public
    assert [path.parent.name for path in issued.folder.glob("*/system.creds")] == ["registry"]


def test_renewal_leaves_a_third_of_the_life() -> None:
    assert renew_at(NOW, timedelta(hours=24)) == NOW + timedelta(hours=16)


def test_names_and_addresses_are_told_apart() -> None:
    assert split_names(["::1", "a.example", "127.0.0.1", "a.example"]) == (
        ["a.example"],
        ["::1", "127.0.0.1"],
    )
