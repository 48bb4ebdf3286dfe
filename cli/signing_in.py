"""How a platform comes to be trusted, and a password becomes a token."""

from __future__ import annotations

import httpx

from cli import asking, tls
from cli.client import refusal, unreachable
from cli.context import Endpoint
from cli.errors import CliError, usage
from cli.session import Session

_TIMEOUT_S = 15.0


def trusted_endpoint(session: Session, url: str, *, ca_pem: str | None, fingerprint: str | None) -> Endpoint:
    """The platform at `url` with the CA to trust: the given one, the machine's own, or the one that a person confirmed."""
    if ca_pem is not None or (fingerprint is None and _verifies(url)):
        return Endpoint(url, ca_pem=ca_pem)
    shown = tls.certificates(_ask_for_ca(url))
    if not shown:
        raise CliError(f"{url} shows no CA certificate.", todo="name the CA file with --ca")
    if fingerprint is not None:
        return Endpoint(url, ca_pem=_with_fingerprint(shown, fingerprint, url=url))
    return Endpoint(url, ca_pem=_confirmed(session, shown, url=url))


def _verifies(url: str) -> bool:
    """Whether the machine's own trust store is enough."""
    if url.startswith("http:"):
        return True
    try:
        httpx.get(url, verify=tls.verifying_context(None), timeout=_TIMEOUT_S)
    except httpx.TransportError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return False
        raise unreachable(url, error) from error
    return True


def _ask_for_ca(url: str) -> str:
    try:
        answer = httpx.get(f"{url}/v1/ca", verify=tls.unverified_context(), timeout=_TIMEOUT_S)
    except httpx.TransportError as error:
        raise unreachable(url, error) from error
    if not answer.is_success:
        raise refusal(answer, url)
    return answer.text


def _with_fingerprint(shown: list[str], wanted: str, *, url: str) -> str:
    for certificate in shown:
        if tls.same_fingerprint(_fingerprint(certificate, url=url), wanted):
            return certificate + "\n"
    raise CliError(
        f"{url} was not trusted: its CA has another fingerprint.",
        details=tuple(tls.grouped(_fingerprint(certificate, url=url)) for certificate in shown),
        why="somebody may be between you and the platform, or its CA was replaced",
        todo="compare with the fingerprint that an administrator sees on the platform's machine",
    )


def _fingerprint(certificate: str, *, url: str) -> str:
    try:
        return tls.fingerprint(certificate)
    except ValueError as error:
        raise CliError(f"{url} shows a CA certificate that cannot be read.") from error


def _confirmed(session: Session, shown: list[str], *, url: str) -> str:
    for certificate in shown:
        session.screen.warn(f"CA of {url}: SHA-256 {tls.grouped(_fingerprint(certificate, url=url))}")
    if not asking.can_ask():
        raise usage(
            f"The CA of {url} is not known on this machine.",
            todo="give --ca FILE, or --fingerprint with the value that an administrator confirmed",
        )
    if not asking.agree("Is this the fingerprint that the platform's administrator gave you?"):
        raise CliError("Not signed in: the CA was not confirmed.")
    return "\n".join(shown) + "\n"


def token_by_password(session: Session, endpoint: Endpoint, *, user: str | None) -> str:
    """The token of a sign-in; the password is typed unseen or comes from stdin."""
    import typer

    if user is None and not asking.can_ask():
        raise usage(
            "Who signs in is not known.", todo="give --user NAME with the password on stdin, or --token -"
        )
    name = user or str(typer.prompt("User", err=True))
    body = {"username": name, "password": asking.password("Password")}
    signed_in = session.client_for(endpoint).post("/v1/auth/login", body)
    return str(signed_in["token"])
