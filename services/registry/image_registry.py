"""Asks an image's registry for the digest of a tag (OCI distribution, HEAD on the manifest).

How carefully it asks is in `lattice.oci_registry`; here is one time limit over all, and nothing of the answer but the digest is used.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

import httpx

from lattice.image_reference import ImageReference
from lattice.oci_registry import api_host, ask_manifest
from services.registry.image_pinning import Answer, RegistryAnswer

_DIGEST = re.compile(r"^sha256:[a-f0-9]{64}$")


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
            return RegistryAnswer(Answer.AWAY, detail=f"{api_host(reference.host)}: {_plain(error)}")


async def _head(client: httpx.AsyncClient, reference: ImageReference, login: str | None) -> RegistryAnswer:
    answer = await ask_manifest(client, "HEAD", reference, reference.tag or "latest", login)
    digest = answer.headers.get("Docker-Content-Digest", "")
    if answer.status == 200 and _DIGEST.match(digest):
        return RegistryAnswer(Answer.FOUND, digest=digest)
    if answer.status in (401, 403):
        detail = "wrong user or password" if login else "it wants a user and password"
        return RegistryAnswer(Answer.DENIED, detail=detail)
    if answer.status == 404:
        return RegistryAnswer(Answer.MISSING)
    return RegistryAnswer(Answer.AWAY, detail=f"it answered {answer.status}")


def _plain(error: BaseException) -> str:
    return str(error) or type(error).__name__
