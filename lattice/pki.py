"""Lattice's own certificates: a root that can be kept offline, an issuing CA that signs, short-lived leafs.

Everybody trusts the root only; a leaf travels with the issuing certificate.  A leaf says who it is in a URI
name (`lattice://node/<id>`, `lattice://service/<name>`, `lattice://workload/<id>`) and what it may be used
for: a workload's leaf can serve TLS but can never open a connection as a client, otherwise a tenant's
database certificate would pass the fence around the message bus.  To rotate, everybody first trusts both
roots, then leafs are issued from the new one, then the old root is dropped.

Time is always an argument.  Keys are P-256.  `pki_files` keeps them on the disk and makes TLS contexts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lattice.errors import Invalid, Unauthenticated
from lattice.pki_x509 import PrivateKey as PrivateKey
from lattice.pki_x509 import (
    PublicKey,
    Purpose,
    Signer,
    Validity,
    name_of,
    sign_authority,
    sign_leaf,
)

ROOT_LIFETIME = timedelta(days=3650)
ISSUING_LIFETIME = timedelta(days=1825)
RENEW_AFTER_PART = 2 / 3

NODE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SERVICE_URI = "lattice://service/"


@dataclass(frozen=True, slots=True)
class Authority:
    """What signs leafs: the issuing key, its certificate, and the roots that everybody trusts (the current
    one first).
    """

    issuing_key: PrivateKey
    issuing: x509.Certificate
    roots: tuple[x509.Certificate, ...]

    @property
    def root(self) -> x509.Certificate:
        return self.roots[0]

    @property
    def signer(self) -> Signer:
        return Signer(self.issuing.subject, self.issuing_key)

    @property
    def trust_pem(self) -> bytes:
        """The roots to trust, for a CA file."""
        return b"".join(certificate_pem(root) for root in self.roots)

    def chain_pem(self, leaf: x509.Certificate) -> bytes:
        """What a peer presents: its leaf and the certificate that signed it."""
        return certificate_pem(leaf) + certificate_pem(self.issuing)


@dataclass(frozen=True, slots=True)
class NewAuthority:
    """A fresh authority and its root key, which is needed again only to make another issuing CA."""

    authority: Authority
    root_key: PrivateKey


def new_private_key() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def create_authority(*, name: str, now: datetime) -> NewAuthority:
    """A root and an issuing CA for one cluster; `name` appears in both."""
    root_key, issuing_key = new_private_key(), new_private_key()
    signer = Signer(name_of(f"{name} root"), root_key)
    root = sign_authority(
        signer.name, root_key.public_key(), signer, Validity(now, ROOT_LIFETIME), path_length=1
    )
    issuing = sign_authority(
        name_of(f"{name} issuing"),
        issuing_key.public_key(),
        signer,
        Validity(now, ISSUING_LIFETIME),
        path_length=0,
    )
    return NewAuthority(Authority(issuing_key, issuing, (root,)), root_key)


def rotate(old: Authority, *, name: str, now: datetime) -> NewAuthority:
    """A new authority that still trusts what `old` trusted; call `drop_old_roots` once every leaf was
    issued anew.
    """
    new = create_authority(name=name, now=now)
    return replace(new, authority=replace(new.authority, roots=(new.authority.root, *old.roots)))


def drop_old_roots(authority: Authority) -> Authority:
    """Trust the current root only: the last step of a rotation."""
    return replace(authority, roots=authority.roots[:1])


def certificate_request(key: PrivateKey, *, name: str) -> bytes:
    """The request (PEM) that a node sends; it proves possession of the key and asks for nothing else."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(name_of(name))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def read_request(request_pem: bytes) -> PublicKey:
    """The public key of a request.  Raises Invalid unless it is P-256 and signed by its own key."""
    try:
        request = x509.load_pem_x509_csr(request_pem)
        signed = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, InvalidSignature) as error:
        raise Invalid(
            "The certificate request cannot be read: send a PEM-encoded PKCS #10 request."
        ) from error
    if not signed:
        raise Invalid("The certificate request is not signed by its own key: make a new one.")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("The certificate request has a key of another kind: make a P-256 key.")
    return key


def issue_node(
    authority: Authority, request_pem: bytes, node_id: str, *, now: datetime, lifetime: timedelta
) -> x509.Certificate:
    """A node's client leaf.  The name comes from the registry's `node_id`; whatever the request says is
    ignored.
    """
    check_node_id(node_id)
    purpose = Purpose(node_id, "node", f"lattice://node/{node_id}", serves=False, connects=True)
    return sign_leaf(read_request(request_pem), purpose, authority.signer, Validity(now, lifetime))


def issue_service(
    authority: Authority,
    key: PublicKey,
    service: str,
    *,
    now: datetime,
    lifetime: timedelta,
    dns_names: Sequence[str] = (),
    ip_addresses: Sequence[str] = (),
) -> x509.Certificate:
    """A leaf for one of our own processes, which connects to others and, where it has names, also serves."""
    serves = bool(dns_names or ip_addresses)
    purpose = Purpose(service, "service", f"{_SERVICE_URI}{service}", serves, True, dns_names, ip_addresses)
    return sign_leaf(key, purpose, authority.signer, Validity(now, lifetime))


def issue_bus_client(
    authority: Authority, key: PublicKey, credential_id: str, *, now: datetime, lifetime: timedelta
) -> x509.Certificate:
    """A leaf with which a person's own client is let in at the bus.  It speaks for none of our processes and for no node."""
    purpose = Purpose(
        credential_id, "bus client", f"lattice://bus-client/{credential_id}", serves=False, connects=True
    )
    return sign_leaf(key, purpose, authority.signer, Validity(now, lifetime))


def issue_workload(
    authority: Authority,
    key: PublicKey,
    workload_id: str,
    *,
    now: datetime,
    lifetime: timedelta,
    dns_names: Sequence[str] = (),
    ip_addresses: Sequence[str] = (),
) -> x509.Certificate:
    """A leaf with which a workload serves TLS.  It is no client certificate: it must not open the message
    bus.
    """
    if not dns_names and not ip_addresses:
        raise Invalid(f"The certificate of workload {workload_id} needs at least one host name or address.")
    uri = f"lattice://workload/{workload_id}"
    purpose = Purpose(workload_id, "workload", uri, True, False, dns_names, ip_addresses)
    return sign_leaf(key, purpose, authority.signer, Validity(now, lifetime))


def issue_website(
    authority: Authority, key: PublicKey, dns_names: Sequence[str], *, now: datetime, lifetime: timedelta
) -> x509.Certificate:
    """A leaf for visitors' browsers.  It speaks for none of our processes and is no client certificate."""
    purpose = Purpose("public names", "website", "lattice://website", True, False, dns_names)
    return sign_leaf(key, purpose, authority.signer, Validity(now, lifetime))


def check_node_id(node_id: str) -> None:
    """Raises Invalid unless the id is safe inside subjects: one made of wildcards would speak for every
    node.
    """
    if not NODE_ID.fullmatch(node_id):
        rule = "use 1 to 63 of a-z, 0-9 and -, and begin with a letter or digit"
        raise Invalid(f"{node_id!r} cannot be a node id: {rule}.")


def node_id_of(certificate: x509.Certificate) -> str:
    """Whom a verified client certificate names.  Raises Unauthenticated if it is not a node's."""
    for uri in _uris(certificate):
        node_id = uri.removeprefix("lattice://node/")
        if node_id != uri and NODE_ID.fullmatch(node_id):
            return node_id
    raise Unauthenticated(
        "The certificate does not belong to a node: connect with the node's own certificate."
    )


def service_of(certificate: x509.Certificate) -> str | None:
    """Which of our own processes a verified client certificate names, if it is one's."""
    uris = _uris(certificate)
    return next((uri.removeprefix(_SERVICE_URI) for uri in uris if uri.startswith(_SERVICE_URI)), None)


def renew_at(certificate: x509.Certificate) -> datetime:
    """When to ask for the next one: after two thirds of its life."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return start + (end - start) * RENEW_AFTER_PART


def ca_fingerprint(root: x509.Certificate) -> str:
    """SHA-256 of a root (64 hex digits); a join token carries it, so a node trusts the right cluster from
    the first byte.
    """
    return root.fingerprint(hashes.SHA256()).hex()


def enrolment_fingerprint(request_pem: bytes, *, nkey: str, sealing_key: str) -> str:
    """What both sides show to the people who approve a node: eight groups of four hex digits over all its
    public keys.

    128 bits are enough, because an impostor must match the fingerprint of keys that somebody else made.
    """
    public = read_request(request_pem).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashlib.sha256(b"lattice-enrolment-1")
    for part in (public, nkey.encode(), sealing_key.encode()):
        digest.update(len(part).to_bytes(4, "big") + part)
    return grouped(digest.hexdigest()[:32])


def grouped(digits: str) -> str:
    """Hex digits as people compare them: `1f3a-99c0-…`."""
    return "-".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: PrivateKey) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)
