"""Certificates: who they name, what they open, how they are kept, and what a real TLS handshake makes of
them.
"""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from lattice import pki, pki_files
from lattice.errors import Invalid, NotFound, Unauthenticated

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def made() -> pki.NewAuthority:
    return pki.create_authority(name="Lattice test", now=NOW)


@pytest.fixture
def authority(made: pki.NewAuthority) -> pki.Authority:
    return made.authority


def usages(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def node_leaf(authority: pki.Authority, node_id: str = "node-1") -> tuple[x509.Certificate, pki.PrivateKey]:
    key = pki.new_private_key()
    request = pki.certificate_request(key, name="whatever")
    return pki.issue_node(authority, request, node_id, now=NOW, lifetime=DAY), key


def test_a_node_leaf_names_the_node_and_only_connects(authority: pki.Authority) -> None:
    leaf, key = node_leaf(authority)
    assert pki.node_id_of(leaf) == "node-1"
    assert leaf.subject.rfc4514_string() == "OU=node,CN=node-1"
    assert usages(leaf) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    assert leaf.public_key() == key.public_key()
    leaf.verify_directly_issued_by(authority.issuing)
    authority.issuing.verify_directly_issued_by(authority.root)


@pytest.mark.parametrize("node_id", ["*", ">", "a.b", "", "-a", "A", "a" * 64, "a\n", "{{name()}}", "a b"])
def test_a_node_id_that_could_speak_for_others_is_never_signed(
    authority: pki.Authority, node_id: str
) -> None:
    with pytest.raises(Invalid, match="node id"):
        node_leaf(authority, node_id)


def test_a_workload_leaf_serves_but_opens_nothing(authority: pki.Authority) -> None:
    key = pki.new_private_key().public_key()
    leaf = pki.issue_workload(authority, key, "w-1", now=NOW, lifetime=DAY, dns_names=["db.example.test"])
    assert usages(leaf) == {ExtendedKeyUsageOID.SERVER_AUTH}
    with pytest.raises(Unauthenticated):
        pki.node_id_of(leaf)


def test_a_workload_leaf_needs_a_name(authority: pki.Authority) -> None:
    with pytest.raises(Invalid, match="host name"):
        pki.issue_workload(authority, pki.new_private_key().public_key(), "w-1", now=NOW, lifetime=DAY)


def test_an_unusable_name_is_refused_by_name(authority: pki.Authority) -> None:
    key = pki.new_private_key().public_key()
    with pytest.raises(Invalid, match=r"300\.1\.1\.1"):
        pki.issue_service(authority, key, "nats", now=NOW, lifetime=DAY, ip_addresses=["300.1.1.1"])


def test_a_service_serves_only_where_it_has_names(authority: pki.Authority) -> None:
    key = pki.new_private_key().public_key()
    plain = pki.issue_service(authority, key, "registry", now=NOW, lifetime=DAY)
    serving = pki.issue_service(authority, key, "nats", now=NOW, lifetime=DAY, ip_addresses=["127.0.0.1"])
    assert usages(plain) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    assert usages(serving) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}


def altered_request() -> bytes:
    key = pki.new_private_key()
    request = x509.load_pem_x509_csr(pki.certificate_request(key, name="n"))
    raw = bytearray(request.public_bytes(serialization.Encoding.DER))
    raw[raw.index(b"n", 8)] ^= 1
    return x509.load_der_x509_csr(bytes(raw)).public_bytes(serialization.Encoding.PEM)


def rsa_request() -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("request_pem", "reason"),
    [(b"nonsense", "cannot be read"), (altered_request(), "not signed"), (rsa_request(), "another kind")],
)
def test_a_bad_request_is_refused_with_its_reason(
    authority: pki.Authority, request_pem: bytes, reason: str
) -> None:
    with pytest.raises(Invalid, match=reason):
        pki.issue_node(authority, request_pem, "node-1", now=NOW, lifetime=DAY)


def test_renewal_is_due_after_two_thirds(authority: pki.Authority) -> None:
    leaf, _ = node_leaf(authority)
    due = pki.renew_at(leaf)
    assert NOW + timedelta(hours=15) < due < NOW + timedelta(hours=17)


def test_the_enrolment_fingerprint_covers_every_key() -> None:
    request = pki.certificate_request(pki.new_private_key(), name="n")
    other = pki.certificate_request(pki.new_private_key(), name="n")
    base = pki.enrolment_fingerprint(request, nkey="UA", sealing_key="S")
    assert pki.enrolment_fingerprint(request, nkey="UA", sealing_key="S") == base
    assert len(base.split("-")) == 8
    changed = {
        pki.enrolment_fingerprint(other, nkey="UA", sealing_key="S"),
        pki.enrolment_fingerprint(request, nkey="UB", sealing_key="S"),
        pki.enrolment_fingerprint(request, nkey="UA", sealing_key="T"),
        pki.enrolment_fingerprint(request, nkey="UAS", sealing_key=""),
    }
    assert base not in changed and len(changed) == 4


def test_the_same_key_keeps_its_fingerprint_in_a_new_request() -> None:
    key = pki.new_private_key()
    first, second = pki.certificate_request(key, name="a"), pki.certificate_request(key, name="b")
    assert pki.enrolment_fingerprint(first, nkey="U", sealing_key="S") == pki.enrolment_fingerprint(
        second, nkey="U", sealing_key="S"
    )


def test_an_authority_is_kept_and_found_again(tmp_path: Path, made: pki.NewAuthority) -> None:
    pki_files.save_authority(tmp_path / "pki", made)
    found = pki_files.load_authority(tmp_path / "pki")
    assert found.roots == made.authority.roots and found.issuing == made.authority.issuing
    assert pki_files.load_chain(tmp_path / "pki" / "ca.pem") == made.authority.roots
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "pki").iterdir()}
    root_key = f"root-{pki.ca_fingerprint(made.authority.root)[:16]}.key"
    assert modes == {"authority.pem": 0o600, root_key: 0o600, "ca.pem": 0o644}
    assert pki_files.load_key(tmp_path / "pki" / root_key).public_key() == made.authority.root.public_key()


def test_an_authority_whose_parts_do_not_fit_is_refused(tmp_path: Path, made: pki.NewAuthority) -> None:
    pki_files.save_authority(tmp_path, made)
    stranger = pki.key_pem(pki.new_private_key())
    kept = (tmp_path / "authority.pem").read_bytes()
    (tmp_path / "authority.pem").write_bytes(stranger + kept[kept.index(b"-----BEGIN CERTIFICATE") :])
    with pytest.raises(Invalid, match="do not belong together"):
        pki_files.load_authority(tmp_path)


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"authority\.pem"):
        pki_files.load_authority(tmp_path)
    (tmp_path / "x.key").write_text("not a key")
    with pytest.raises(Invalid, match=r"x\.key"):
        pki_files.load_key(tmp_path / "x.key")
    other_curve = ec.generate_private_key(ec.SECP384R1())
    (tmp_path / "y.key").write_bytes(pki.key_pem(other_curve))
    with pytest.raises(Invalid, match="another kind"):
        pki_files.load_key(tmp_path / "y.key")


# --- what a real handshake makes of them -------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    certificate: Path
    key: Path


def keep(
    folder: Path, name: str, authority: pki.Authority, leaf: x509.Certificate, key: pki.PrivateKey
) -> Identity:
    identity = Identity(folder / f"{name}.pem", folder / f"{name}.key")
    pki_files.save_chain(identity.certificate, authority.chain_pem(leaf))
    pki_files.save_key(identity.key, key)
    return identity


def serving(folder: Path, authority: pki.Authority, dns: str = "localhost") -> Identity:
    key = pki.new_private_key()
    leaf = pki.issue_service(authority, key.public_key(), "gateway", now=NOW, lifetime=DAY, dns_names=[dns])
    return keep(folder, "server", authority, leaf, key)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str = "localhost") -> bytes:
    """The client certificate that the server saw; raises what the client or the server raised."""
    ours, theirs = socket.socketpair()
    outcome: list[bytes | Exception] = []

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as connection:
                outcome.append(connection.getpeercert(binary_form=True) or b"")
                connection.sendall(b"ok")
        except (ssl.SSLError, OSError) as error:
            outcome.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=host) as connection:
            assert connection.recv(2) == b"ok"
    finally:
        ours.close()
        thread.join(10)
    assert isinstance(outcome[0], bytes)
    return outcome[0]


@pytest.fixture
def ca_file(tmp_path: Path, made: pki.NewAuthority) -> Iterator[Path]:
    pki_files.save_authority(tmp_path / "pki", made)
    yield tmp_path / "pki" / "ca.pem"


def test_mutual_tls_shows_the_server_which_node_calls(
    tmp_path: Path, authority: pki.Authority, ca_file: Path
) -> None:
    gateway = serving(tmp_path, authority)
    node = keep(tmp_path, "node", authority, *node_leaf(authority, "node-7"))
    server = pki_files.server_context(gateway.certificate, gateway.key, client_ca_file=ca_file)
    client = pki_files.client_context(ca_file, certificate_file=node.certificate, key_file=node.key)
    seen = shake_hands(server, client)
    assert pki.node_id_of(x509.load_der_x509_certificate(seen)) == "node-7"


def test_a_peer_without_a_certificate_is_refused(
    tmp_path: Path, authority: pki.Authority, ca_file: Path
) -> None:
    gateway = serving(tmp_path, authority)
    server = pki_files.server_context(gateway.certificate, gateway.key, client_ca_file=ca_file)
    with pytest.raises((ssl.SSLError, ConnectionError), match=r"(?i)certificate.required|reset|broken"):
        shake_hands(server, pki_files.client_context(ca_file))


def test_a_workload_certificate_does_not_pass_as_a_client(
    tmp_path: Path, authority: pki.Authority, ca_file: Path
) -> None:
    gateway = serving(tmp_path, authority)
    key = pki.new_private_key()
    leaf = pki.issue_workload(
        authority, key.public_key(), "w", now=NOW, lifetime=DAY, dns_names=["localhost"]
    )
    workload = keep(tmp_path, "workload", authority, leaf, key)
    server = pki_files.server_context(gateway.certificate, gateway.key, client_ca_file=ca_file)
    client = pki_files.client_context(ca_file, certificate_file=workload.certificate, key_file=workload.key)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        shake_hands(server, client)


def test_another_name_another_authority_and_old_tls_are_refused(
    tmp_path: Path, authority: pki.Authority, ca_file: Path
) -> None:
    gateway = serving(tmp_path, authority)
    server = pki_files.server_context(gateway.certificate, gateway.key)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"Hostname mismatch"):
        shake_hands(server, pki_files.client_context(ca_file), host="other.test")
    stranger = pki.create_authority(name="Stranger", now=NOW)
    pki_files.save_authority(tmp_path / "stranger", stranger)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"unable to get local issuer|self-signed"):
        shake_hands(server, pki_files.client_context(tmp_path / "stranger" / "ca.pem"))
    old = pki_files.client_context(ca_file)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        shake_hands(server, old)


def test_an_expired_leaf_is_refused(tmp_path: Path, authority: pki.Authority, ca_file: Path) -> None:
    key = pki.new_private_key()
    leaf = pki.issue_service(
        authority, key.public_key(), "gateway", now=NOW - 2 * DAY, lifetime=DAY, dns_names=["localhost"]
    )
    gateway = keep(tmp_path, "server", authority, leaf, key)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(
            pki_files.server_context(gateway.certificate, gateway.key), pki_files.client_context(ca_file)
        )


def test_a_rotation_never_leaves_anybody_outside(
    tmp_path: Path, made: pki.NewAuthority, ca_file: Path
) -> None:
    rotated = pki.rotate(made.authority, name="Lattice test 2", now=NOW)
    pki_files.save_authority(tmp_path / "both", rotated)
    both = pki_files.client_context(tmp_path / "both" / "ca.pem")
    old_leaf = serving(tmp_path / "old", made.authority)
    new_leaf = serving(tmp_path / "new", rotated.authority)
    assert shake_hands(pki_files.server_context(old_leaf.certificate, old_leaf.key), both) == b""
    assert shake_hands(pki_files.server_context(new_leaf.certificate, new_leaf.key), both) == b""
    pki_files.update_authority(tmp_path / "both", pki.drop_old_roots(rotated.authority))
    new_only = pki_files.client_context(tmp_path / "both" / "ca.pem")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(pki_files.server_context(old_leaf.certificate, old_leaf.key), new_only)
