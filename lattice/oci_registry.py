"""Asking an image's registry for a manifest (OCI distribution), as the control plane and the agents do it.

The name of the registry comes from whoever deploys, so this is careful: no redirects, nothing of link-local addresses (cloud metadata), a bound
on what is read, and credentials go only to the registry itself or to the token service that it names over TLS.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx

from lattice.image_reference import DEFAULT_HOST, ImageReference

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
# Registries accept no larger manifest (distribution's `maxManifestBodySize`).
MAX_MANIFEST_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class ManifestAnswer:
    """What a registry said: HTTP status, headers, and the body as far as it may be read."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def ask_manifest(
    client: httpx.AsyncClient, method: str, reference: ImageReference, name: str, login: str | None
) -> ManifestAnswer:
    """HEAD or GET the manifest `name` (a tag or digest); `login` is `user:password`.  Raises httpx.HTTPError, OSError, ValueError."""
    if is_link_local(reference.host):
        raise ValueError("link-local addresses are never asked")
    url = f"{_base_url(reference.host)}/v2/{reference.repository}/manifests/{name}"
    answer = await _ask(client, method, url, {"Accept": _MANIFESTS})
    if answer.status != HTTPStatus.UNAUTHORIZED:
        return answer
    authorization = await _authorize(client, answer.headers.get("WWW-Authenticate", ""), reference, login)
    if authorization is None:
        return answer
    return await _ask(client, method, url, {"Accept": _MANIFESTS, "Authorization": authorization})


async def _ask(
    client: httpx.AsyncClient, method: str, url: str, headers: Mapping[str, str]
) -> ManifestAnswer:
    body = b""
    async with client.stream(method, url, headers=dict(headers)) as response:
        async for part in response.aiter_bytes():
            body += part
            if len(body) > MAX_MANIFEST_BYTES:
                raise ValueError("its manifest is larger than a registry may keep")
        return ManifestAnswer(response.status_code, response.headers, body)


async def _authorize(
    client: httpx.AsyncClient, challenge: str, reference: ImageReference, login: str | None
) -> str | None:
    """The Authorization header that the challenge asks for, or None."""
    scheme, _, rest = challenge.partition(" ")
    basic = f"Basic {base64.b64encode(login.encode()).decode()}" if login else None
    if scheme.lower() == "basic":
        return basic
    parts = dict(_CHALLENGE.findall(rest))
    realm = parts.get("realm", "")
    if scheme.lower() != "bearer" or not _may_send_login(realm, reference.host):
        return None
    scope = parts.get("scope", f"repository:{reference.repository}:pull")
    params = {"service": parts.get("service", ""), "scope": scope}
    response = await client.get(realm, params=params, headers={"Authorization": basic} if basic else {})
    token = _token_in(response)
    return f"Bearer {token}" if token else None


def _token_in(response: httpx.Response) -> str | None:
    """A token service calls it `token`, or `access_token` as OAuth 2 does.  ValueError if its answer is no JSON."""
    said = response.json() if response.status_code == HTTPStatus.OK else None
    token = said.get("token") or said.get("access_token") if isinstance(said, dict) else None
    return token if isinstance(token, str) else None


def _may_send_login(realm: str, host: str) -> bool:
    url = urlsplit(realm)
    return url.scheme == "https" or (url.scheme == "http" and url.netloc == host and _is_loopback(host))


def _base_url(host: str) -> str:
    scheme = "http" if _is_loopback(host) else "https"
    return f"{scheme}://{api_host(host)}"


def api_host(host: str) -> str:
    """Where the registry of this name answers: Docker's own does under another one."""
    return "registry-1.docker.io" if host == DEFAULT_HOST else host


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.rsplit(":", 1)[0].strip("[]"))
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    """The Engine, too, talks plain HTTP to loopback registries only."""
    address = _address(host)
    return host.split(":")[0] == "localhost" or (address is not None and address.is_loopback)


def is_link_local(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_link_local
