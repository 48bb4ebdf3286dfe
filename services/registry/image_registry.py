"""Asks an image's registry for the digest of a tag (OCI distribution, HEAD on the manifest).

The name of the registry comes from whoever deploys, so this is careful: no redirects, one time limit over all, nothing of the answer but
the digest is used, link-local addresses (cloud metadata) are never asked, and credentials go only to the registry itself or to the token
service that it names over TLS.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from lattice.image_reference import DEFAULT_HOST, ImageReference
from services.registry.image_pinning import Answer, RegistryAnswer

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_DIGEST = re.compile(r"^sha256:[a-f0-9]{64}$")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(slots=True)
class ImageRegistries:
    """Asks registries, and remembers for a second what they said, so that a burst of deploys asks once: whoever pushes and then deploys
    must get what was pushed.

    A registry that is away is not asked again for `away_s`: each accept would wait for its time limit.
    """

    timeout_s: float = 5.0
    remember_s: float = 1.0
    away_s: float = 30.0
    _known: dict[tuple[ImageReference, str | None], tuple[float, RegistryAnswer]] = field(
        default_factory=dict
    )
    _away: dict[str, tuple[float, RegistryAnswer]] = field(default_factory=dict)

    async def digest(
        self, reference: ImageReference, login: str | None, *, monotonic_s: float
    ) -> RegistryAnswer:
        """The digest of the reference's tag; `login` is `user:password` or None."""
        for until_s, answer in (
            self._known.get((reference, login), (0.0, None)),
            self._away.get(reference.host, (0.0, None)),
        ):
            if answer is not None and monotonic_s < until_s:
                return answer
        answer = await self._ask(reference, login)
        if answer.answer is Answer.AWAY:
            self._away[reference.host] = (monotonic_s + self.away_s, answer)
        else:
            self._known = {key: value for key, value in self._known.items() if value[0] > monotonic_s}
            self._known[reference, login] = (monotonic_s + self.remember_s, answer)
        return answer

    async def _ask(self, reference: ImageReference, login: str | None) -> RegistryAnswer:
        try:
            async with asyncio.timeout(self.timeout_s), httpx.AsyncClient(timeout=self.timeout_s) as client:
                return await _head(client, reference, login)
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return RegistryAnswer(Answer.AWAY, detail=f"{_api_host(reference.host)}: {_plain(error)}")


async def _head(client: httpx.AsyncClient, reference: ImageReference, login: str | None) -> RegistryAnswer:
    if _is_link_local(reference.host):
        return RegistryAnswer(Answer.AWAY, detail="link-local addresses are never asked")
    url = f"{_base_url(reference.host)}/v2/{reference.repository}/manifests/{reference.tag or 'latest'}"
    response = await client.head(url, headers={"Accept": _MANIFESTS})
    if response.status_code == 401:
        authorization = await _authorize(
            client, response.headers.get("WWW-Authenticate", ""), reference, login
        )
        if authorization is not None:
            response = await client.head(url, headers={"Accept": _MANIFESTS, "Authorization": authorization})
    return _read(response, login)


def _read(response: httpx.Response, login: str | None) -> RegistryAnswer:
    digest = response.headers.get("Docker-Content-Digest", "")
    if response.status_code == 200 and _DIGEST.match(digest):
        return RegistryAnswer(Answer.FOUND, digest=digest)
    if response.status_code in (401, 403):
        detail = "wrong user or password" if login else "it wants a user and password"
        return RegistryAnswer(Answer.DENIED, detail=detail)
    if response.status_code == 404:
        return RegistryAnswer(Answer.MISSING)
    return RegistryAnswer(Answer.AWAY, detail=f"it answered {response.status_code}")


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
    said = response.json() if response.status_code == 200 else None
    token = said.get("token") or said.get("access_token") if isinstance(said, dict) else None
    return token if isinstance(token, str) else None


def _may_send_login(realm: str, host: str) -> bool:
    url = urlsplit(realm)
    return url.scheme == "https" or (url.scheme == "http" and url.netloc == host and _is_loopback(host))


def _base_url(host: str) -> str:
    scheme = "http" if _is_loopback(host) else "https"
    return f"{scheme}://{_api_host(host)}"


def _api_host(host: str) -> str:
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


def _is_link_local(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_link_local


def _plain(error: BaseException) -> str:
    return str(error) or type(error).__name__
