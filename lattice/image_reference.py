"""Image references as the Engine reads them: `redis:7` is `docker.io/library/redis:7`."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_HOST = "docker.io"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """Where an image is and which one: by tag, or by digest."""

    host: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def familiar(self) -> str:
        """As people write it, without tag and digest: `redis`, `ghcr.io/acme/api`."""
        if self.host != DEFAULT_HOST:
            return f"{self.host}/{self.repository}"
        return self.repository.removeprefix("library/")

    @property
    def by_tag(self) -> str:
        """`redis:7`; `latest` where no tag was written."""
        return f"{self.familiar}:{self.tag or 'latest'}"

    def by_digest(self, digest: str) -> str:
        """`redis@sha256:…`: names one content for all time."""
        return f"{self.familiar}@{digest}"


def parse_reference(text: str) -> ImageReference:
    """Split a reference whose characters `spec.IMAGE_PATTERN` has already accepted."""
    name, _, digest = text.partition("@")
    head, _, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    path = f"{head}/{last}" if head else last
    first, _, rest = path.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        host, repository = first, rest
    else:
        host, repository = DEFAULT_HOST, path if "/" in path else f"library/{path}"
    if host == "index.docker.io":
        host = DEFAULT_HOST
    return ImageReference(host=host, repository=repository, tag=tag or None, digest=digest or None)
