"""What an ingress can be told from outside; `LATTICE_INGRESS_…`."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from lattice.settings import BusSettings, ProcessSettings

# How many connections may wait to be taken in, as Linux allows by default (net.core.somaxconn). With the 100 that asyncio would allow, the rest of
# a burst is let in when the kernel tries again: after 1 s, 3 s, 7 s and so on.
LISTEN_BACKLOG = 4096


class IngressSettings(ProcessSettings):
    """Where visitors come in, where nodes dial in, and how long anything may take."""

    model_config = SettingsConfigDict(env_prefix="LATTICE_INGRESS_", extra="ignore", frozen=True)

    bus: BusSettings = Field(default_factory=BusSettings)
    listen_host: str = "127.0.0.1"
    http_port: int = Field(0, ge=0, le=65535, description="for visitors; 0 chooses a free port")
    tunnel_port: int = Field(0, ge=0, le=65535, description="for nodes; 0 chooses a free port")
    tls_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="for visitors of workloads that serve TLS themselves; 0 chooses a free port",
    )
    https_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="for visitors over HTTPS, where `web_cert_file` is set; 0 chooses a free port",
    )
    apps_domain: str = Field(
        "apps.localhost", description="a route `web--default` is `web--default.<apps_domain>`"
    )
    trusted_proxies: list[IPv4Network | IPv6Network] = Field(
        default_factory=list,
        description="proxies of our own in front: whom they name in X-Forwarded-For is the visitor",
    )
    tls_cert_file: Path = Field(description="our certificate towards nodes, with its chain")
    tls_key_file: Path
    ca_file: Path = Field(description="the CA whose node certificates are let in")
    web_cert_file: Path | None = Field(
        None,
        description="the certificate for visitors, with its chain, for *.<apps_domain>; without one there is no HTTPS here",
    )
    web_key_file: Path | None = Field(None, description="its key; default: in the same file")
    head_timeout_s: float = Field(
        10.0, gt=0, description="how long a visitor may take for the head of a request"
    )
    place_timeout_s: float = Field(
        5.0, ge=0, description="how long a visitor waits for an instance that is starting, or for its node"
    )
    answer_timeout_s: float = Field(
        60.0, gt=0, description="how long an instance may take to begin its answer"
    )
    idle_timeout_s: float = Field(
        600.0, gt=0, description="how long neither side of an exchange or a websocket may say anything"
    )
    tcp_idle_timeout_s: float = Field(
        3600.0, gt=0, description="the same over TCP and `lattice forward`: pools of databases rest for long"
    )
    total_timeout_s: float | None = Field(
        None,
        gt=0,
        description="how long an exchange, a websocket or a connection over TCP may last in all; default: any time",
    )
    max_connections: int = Field(
        10_000,
        ge=1,
        description="visitors beyond are answered with 503; on ports over TCP they are turned away",
    )

    @model_validator(mode="after")
    def _key_of_a_certificate(self) -> Self:
        if self.web_key_file is not None and self.web_cert_file is None:
            raise ValueError("web_key_file is given without web_cert_file: give the certificate too")
        return self
