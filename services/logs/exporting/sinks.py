"""Where logs are sent on to, as `LATTICE_LOGS_EXPORTS` says it.  Pure.

[{"kind": "loki", "url": "https://loki.example/loki/api/v1/push", "headers": {"Authorization": "Bearer …"}, "projects": ["shop"]}]
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from lattice.contracts.messages import PLATFORM


class Kind(StrEnum):
    """How a sink is spoken to."""

    LOKI = "loki"
    OTLP = "otlp"
    SYSLOG = "syslog"
    S3 = "s3"
    WEBHOOK = "webhook"


_SCHEMES = {Kind.SYSLOG: ("tcp", "tls"), Kind.S3: ("s3",)}
_HTTP = ("http", "https")
# An object for every second would cost more than what is in it.
_OBJECT_EVERY_S, _LOOK_EVERY_S = 60.0, 1.0


class Sink(BaseModel):
    """One of them.  What is secret is never shown, not even where it is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Kind
    url: str = Field(max_length=2048)
    projects: tuple[str, ...] = Field(
        (), description="only these; without, all of them but what the platform says of itself (`_platform`)"
    )
    headers: dict[str, SecretStr] = Field({}, max_length=32)
    ca_file: Path | None = Field(None, description="the CAs to trust instead of the machine's")
    every_s: float | None = Field(None, gt=0, le=3600, description="how often to look for new lines")
    s3_endpoint: str | None = None
    s3_region: str | None = None
    s3_access_key_id: SecretStr | None = None
    s3_secret_access_key: SecretStr | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        parts, schemes = urlsplit(self.url), _SCHEMES.get(self.kind, _HTTP)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(
                f"the url of a {self.kind} sink is {' or '.join(f'{each}://…' for each in schemes)}"
            )
        if parts.username is not None or parts.password is not None:
            raise ValueError("no credentials in the url: put them into headers")
        if self.kind is Kind.SYSLOG and parts.port is None:
            raise ValueError("the url of a syslog sink has a port")
        if self.kind in _SCHEMES and self.headers:
            raise ValueError(f"a {self.kind} sink takes no headers")
        if self.kind is not Kind.S3 and any(name.startswith("s3_") for name in self.model_fields_set):
            raise ValueError("s3_… is for s3 sinks only")
        return self

    @property
    def name(self) -> str:
        """Names it in logs, metrics and on the disk: the same for as long as it is the same place."""
        told = "|".join([self.kind, self.url, *sorted(self.projects)])
        return f"{self.kind}-{sha256(told.encode()).hexdigest()[:10]}"

    @property
    def pause_s(self) -> float:
        """How long to wait when there is nothing new."""
        return self.every_s or (_OBJECT_EVERY_S if self.kind is Kind.S3 else _LOOK_EVERY_S)

    def wants(self, project: str) -> bool:
        """Whether a project's lines are for it."""
        return project in self.projects if self.projects else project != PLATFORM

    def plain_headers(self) -> dict[str, str]:
        """To be sent, never to be shown."""
        return {name: value.get_secret_value() for name, value in self.headers.items()}
