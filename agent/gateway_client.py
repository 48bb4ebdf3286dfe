"""The few requests that a machine makes of the gateway over HTTPS: to be let in, and to stay in.

The first contact trusts nothing: the CA is fetched and believed only if its fingerprint is the one in the join token, and all that follows is
verified against it.  Each later request is signed with the node's bus key.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509

from lattice.clock import Clock
from lattice.contracts.catalogue import GET_ENROLMENT, RENEW_NODE
from lattice.contracts.messages import Enrolment, NodeRegistered
from lattice.errors import Invalid, LatticeError, Temporary, Unauthenticated, from_wire
from lattice.identity import proof_bytes
from lattice.nkey import NKey
from lattice.pki import ca_fingerprint
from lattice.pki_files import client_context

_TIMEOUT_S = 15.0
_LARGEST_CA = 64 * 1024


async def fetch_ca(gateway_url: str, fingerprint: str) -> bytes:
    """The platform's root certificate (PEM), if its SHA-256 is `fingerprint`.  Raises Unauthenticated if it is another, Temporary."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # what is fetched is verified itself
    reply = await _send("GET", f"{gateway_url}/v1/ca", context)
    for certificate in _certificates(reply.content[:_LARGEST_CA]):
        if ca_fingerprint(certificate) == fingerprint:
            return reply.content
    raise Unauthenticated(
        f"The gateway at {gateway_url} shows another CA than the join token names. Either the token is for another "
        "platform, or somebody stands in between: do not go on; make a new token and check the address."
    )


class GatewayClient:
    """Speaks with one gateway whose CA is known."""

    def __init__(self, gateway_url: str, ca_file: Path, clock: Clock) -> None:
        self._url, self._ca_file, self._clock = gateway_url.rstrip("/"), ca_file, clock

    async def register(self, body: Mapping[str, Any]) -> NodeRegistered:
        """Ask for membership."""
        reply = await self._ask("POST", "/v1/nodes/register", json=body)
        return NodeRegistered.model_validate_json(reply.content)

    async def enrolment(self, node_id: str, key: NKey) -> Enrolment:
        """Where the enrolment stands; with credentials once it is approved."""
        headers = self._proof(GET_ENROLMENT.name, node_id, key, b"")
        reply = await self._ask("GET", f"/v1/nodes/register/{node_id}", headers=headers)
        return Enrolment.model_validate_json(reply.content)

    async def renew(self, node_id: str, key: NKey, request_pem: bytes) -> Enrolment:
        """New credentials."""
        headers = self._proof(RENEW_NODE.name, node_id, key, request_pem)
        body = {"csr_pem": request_pem.decode()}
        reply = await self._ask("POST", f"/v1/nodes/{node_id}/renew", headers=headers, json=body)
        return Enrolment.model_validate_json(reply.content)

    async def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        return await _send(method, f"{self._url}{path}", client_context(self._ca_file), **request)

    def _proof(self, purpose: str, node_id: str, key: NKey, body: bytes) -> dict[str, str]:
        signed_at = self._clock.now()
        signature = key.sign(proof_bytes(purpose, node_id, signed_at, body))
        return {
            "Lattice-Signed-At": signed_at.isoformat(timespec="microseconds"),
            "Lattice-Signature": base64.b64encode(signature).decode(),
        }


async def _send(method: str, url: str, context: ssl.SSLContext, **request: Any) -> httpx.Response:
    try:
        async with httpx.AsyncClient(verify=context, timeout=_TIMEOUT_S, trust_env=False) as client:
            reply = await client.request(method, url, **request)
    except httpx.InvalidURL as error:
        raise Invalid(f"{url!r} is not an address of a gateway: {error}.") from error
    except httpx.HTTPError as error:
        raise Temporary(
            f"The gateway at {url} cannot be reached: {error or type(error).__name__}."
        ) from error
    if reply.is_success:
        return reply
    raise _error_of(reply)


def _error_of(reply: httpx.Response) -> LatticeError:
    """The gateway's problem as our error; what is no problem document came from something in between."""
    try:
        problem = reply.json()
        code, detail = str(problem["code"]), str(problem.get("detail") or problem.get("title", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Temporary(f"The gateway answered {reply.status_code} without saying why.")
    return from_wire({"code": code, "detail": detail, "errors": [], "data": {}})


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []
