"""How the certificates of `lattice.pki` look inside: names, usages, extensions.

Private to `pki`: what a leaf may be used for is decided there, here it is only spelled in X.509.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lattice.errors import Invalid

# A peer whose clock is a little behind must accept a certificate made just now.
CLOCK_SKEW = timedelta(minutes=5)

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a leaf says about its owner."""

    name: str
    unit: str
    uri: str
    serves: bool
    connects: bool
    dns_names: Sequence[str] = ()
    ip_addresses: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: the name and key of an authority."""

    name: x509.Name
    key: PrivateKey


@dataclass(frozen=True, slots=True)
class Validity:
    """From when and for how long a certificate is good."""

    now: datetime
    lifetime: timedelta


def name_of(common_name: str, unit: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if unit is not None:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    return x509.Name(attributes)


def sign_authority(
    subject: x509.Name, key: PublicKey, signer: Signer, validity: Validity, *, path_length: int
) -> x509.Certificate:
    """A certificate that may sign others, over at most `path_length` further authorities."""
    builder = _certificate(subject, key, signer, validity)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    return builder.sign(signer.key, hashes.SHA256())


def sign_leaf(key: PublicKey, purpose: Purpose, signer: Signer, validity: Validity) -> x509.Certificate:
    """A certificate that says `purpose` of the owner of `key`.  Raises Invalid for a name it cannot carry."""
    builder = _certificate(name_of(purpose.name, purpose.unit), key, signer, validity)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(_extended_usage(purpose), critical=False)
    return builder.add_extension(_alternative_names(purpose), critical=False).sign(
        signer.key, hashes.SHA256()
    )


def _certificate(
    subject: x509.Name, key: PublicKey, signer: Signer, validity: Validity
) -> x509.CertificateBuilder:
    issuer_key = signer.key.public_key()
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=signer.name, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity.now - CLOCK_SKEW)
        .not_valid_after(validity.now + validity.lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _extended_usage(purpose: Purpose) -> x509.ExtendedKeyUsage:
    usages = [ExtendedKeyUsageOID.SERVER_AUTH] if purpose.serves else []
    return x509.ExtendedKeyUsage(usages + ([ExtendedKeyUsageOID.CLIENT_AUTH] if purpose.connects else []))


def _alternative_names(purpose: Purpose) -> x509.SubjectAlternativeName:
    try:
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(purpose.uri)]
        names += [x509.DNSName(name) for name in purpose.dns_names]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in purpose.ip_addresses]
    except ValueError as error:
        raise Invalid(f"The certificate of {purpose.name} cannot carry such a name: {error}.") from error
    return x509.SubjectAlternativeName(names)
