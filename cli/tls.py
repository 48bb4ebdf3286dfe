"""Trust in a gateway's certificate.  Nothing is ever sent over a connection that was not verified, except the question for the CA itself:
its answer counts only after a person, or a fingerprint given beforehand, has confirmed it.
"""

from __future__ import annotations

import hashlib
import re
import ssl

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_NOT_HEX = re.compile(r"[^0-9a-f]")


def verifying_context(ca_pem: str | None) -> ssl.SSLContext:
    """Verifies the server's certificate and name, by `ca_pem` or the machine's own trust store.  ValueError if the PEM is damaged."""
    try:
        context = ssl.create_default_context(cadata=ca_pem)
    except ssl.SSLError as error:
        raise ValueError(f"the CA certificate cannot be read: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def unverified_context() -> ssl.SSLContext:
    """For asking an unknown platform for its CA, and for nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def certificates(pem: str) -> list[str]:
    """Each certificate in a PEM text."""
    return _CERTIFICATE.findall(pem)


def fingerprint(certificate_pem: str) -> str:
    """SHA-256 of one certificate, 64 hex digits: the same that join tokens carry.  ValueError if it is damaged."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate_pem)).hexdigest()


def grouped(digits: str) -> str:
    """Hex digits as people compare them: `1f3a-99c0-…`."""
    return "-".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def same_fingerprint(one: str, other: str) -> bool:
    """Compares whole fingerprints, however they are grouped."""
    return _NOT_HEX.sub("", one.lower()) == _NOT_HEX.sub("", other.lower())
