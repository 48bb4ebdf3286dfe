"""Certificates and keys on the disk, and the TLS contexts made from them.

Keys are 0600, certificates 0644, each replaced in one durable step.  Between our own parts every context
speaks TLS 1.3 only and verifies; there is no option to turn that off.  Visitors of workloads come with
whatever browser they have: for them alone there is TLS 1.2 as well.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lattice.errors import Invalid, NotFound
from lattice.files import PRIVATE, PUBLIC, write_durably
from lattice.pki import Authority, NewAuthority, ca_fingerprint, certificate_pem, key_pem
from lattice.pki_x509 import PrivateKey

# Of TLS 1.2 only what has forward secrecy and authenticated encryption, as 1.3 always has (RFC 9325, 4.2).
_OLDER_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def client_context(
    ca_file: Path, *, certificate_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """TLS 1.3 towards a server whose name is verified, with our own certificate where one is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=ca_file)
    if certificate_file is not None:
        context.load_cert_chain(certificate_file, key_file)
    return _hardened(context)


def server_context(
    certificate_file: Path, key_file: Path, *, client_ca_file: Path | None = None
) -> ssl.SSLContext:
    """TLS 1.3 for a server; with `client_ca_file`, a peer without a certificate of that CA is refused
    (mTLS).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    if client_ca_file is not None:
        context.load_verify_locations(cafile=client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return _hardened(context)


def website_context(certificate_file: Path, key_file: Path) -> ssl.SSLContext:
    """TLS 1.2 and 1.3 for visitors with browsers, who are asked for no certificate and are answered over HTTP/1.1.

    Raises Invalid for files that cannot be used: they may be a person's own.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate_file, key_file, password="")  # a locked key is not asked about
    except (OSError, ssl.SSLError) as error:
        raise Invalid(
            f"Visitors cannot be shown the certificate {certificate_file} with the key {key_file}: {error}. Give a certificate with its chain and "
            "the key that belongs to it, both in PEM form, readable and not locked with a password."
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_OLDER_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def save_key(path: Path, key: PrivateKey) -> None:
    write_durably(path, key_pem(key), mode=PRIVATE)


def load_key(path: Path) -> PrivateKey:
    """Raises NotFound if there is no such file, Invalid if it is not a P-256 key."""
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except ValueError as error:
        raise Invalid(f"{path} is not a private key in PEM form.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid(f"{path} holds a key of another kind: P-256 is needed.")
    return key


def save_chain(path: Path, chain_pem: bytes) -> None:
    write_durably(path, chain_pem, mode=PUBLIC)


def load_chain(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a file, the leaf first.  Raises NotFound or Invalid."""
    return _certificates(_read(path), path)


def save_authority(folder: Path, new: NewAuthority) -> None:
    """Keep an authority in `folder`: `authority.pem` (secret), `root-<fingerprint>.key` (may be taken
    offline), `ca.pem`.

    `authority.pem` holds key and certificates together, so no crash can leave a key beside the certificate of
    another.
    """
    save_key(folder / f"root-{ca_fingerprint(new.authority.root)[:16]}.key", new.root_key)
    update_authority(folder, new.authority)


def update_authority(folder: Path, authority: Authority) -> None:
    """Replace the kept authority without touching its root key: used when old roots are dropped."""
    certificates = certificate_pem(authority.issuing) + authority.trust_pem
    write_durably(folder / "authority.pem", key_pem(authority.issuing_key) + certificates, mode=PRIVATE)
    write_durably(folder / "ca.pem", authority.trust_pem, mode=PUBLIC)


def load_authority(folder: Path) -> Authority:
    """The authority that `save_authority` kept.  Raises NotFound or Invalid."""
    path = folder / "authority.pem"
    issuing, *roots = load_chain(path)
    key = load_key(path)
    if key.public_key() != issuing.public_key() or not roots:
        raise Invalid(
            f"{path} is damaged: its key and certificates do not belong together. Restore it from a backup."
        )
    return Authority(key, issuing, tuple(roots))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist.") from error


def _certificates(pem: bytes, source: Path) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise Invalid(f"{source} holds no readable certificate in PEM form.") from error


def _hardened(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context
