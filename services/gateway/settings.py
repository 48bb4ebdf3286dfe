"""What the gateway can be told from outside; `LATTICE_GATEWAY_…`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from lattice.settings import BusSettings, DatabaseSettings, ProcessSettings


class GatewaySettings(ProcessSettings):
    """Where the gateway listens, what it presents, and how long sign-ins live."""

    model_config = SettingsConfigDict(env_prefix="LATTICE_GATEWAY_", extra="ignore", frozen=True)

    bus: BusSettings = Field(default_factory=BusSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    listen_host: str = "127.0.0.1"
    port: int = Field(8443, ge=0, le=65535)
    public_url: str = Field(description="how people and agents reach this gateway: https://host:port")
    tls_cert_file: Path = Field(description="leaf and issuing CA in PEM form; read again when it changes")
    tls_key_file: Path
    ca_file: Path = Field(description="the root that clients are to trust, served at /v1/ca")
    bootstrap_secret_file: Path | None = Field(
        None, description="holds the one-time secret that lets POST /v1/auth/setup make the first admin"
    )
    operator_token_file: Path | None = Field(
        None, description="holds an API token that is valid as the admin `operator` after each start"
    )
    ingress_addresses: list[str] = Field(
        default_factory=list,
        description="host:port where nodes dial each ingress: `lattice forward` goes through one of them",
    )
    max_body_bytes: int = Field(
        3 * 2**18,
        ge=1024,
        description="with what is added on the way it must fit one message of the bus, 1 MiB",
    )
    session_ttl_s: float = Field(43_200, gt=0, le=30 * 86_400)
    password_memory_kib: int = Field(65_536, ge=64, description="argon2id; fewer only in tests")
    stream_keepalive_s: float = Field(15, gt=0, description="a comment is sent after so much silence")
    tls_reload_s: float = Field(10, gt=0, description="how often a renewed certificate is looked for")
