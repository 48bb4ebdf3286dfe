"""What every process can be told from outside.  Built once in a `__main__` and passed down; nothing else reads the environment.

Each process has its own class with its own prefix (`LATTICE_REGISTRY_…`, `LATTICE_AGENT_…`), derived from the ones here.  A duration
carries its unit in its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ProcessSettings(BaseSettings):
    """Common to every process: how it logs and where its health and metrics are served."""

    model_config = SettingsConfigDict(env_prefix="LATTICE_", extra="ignore", frozen=True)

    log_level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = "json"
    health_host: str = "127.0.0.1"
    health_port: int = Field(0, description="serves /healthz /readyz /metrics; 0 chooses a free port")
    health_port_file: Path | None = Field(None, description="where to write the port that was chosen")
    drain_timeout_s: float = Field(10.0, gt=0, description="how long work may end after SIGTERM")


class BusSettings(BaseSettings):
    """How a process reaches NATS: addresses, the CA to trust, its own certificate and its own JWT.

    The files are read again at each connect, so a renewed credential is used without a restart.
    """

    model_config = SettingsConfigDict(env_prefix="LATTICE_NATS_", extra="ignore", frozen=True)

    urls: list[str] = Field(min_length=1, description="tls://host:port of each server")
    ca_file: Path
    cert_file: Path
    key_file: Path
    creds_file: Path = Field(description="user JWT and nkey seed in NATS's creds format")
    server_name: str = Field(
        "nats.lattice.internal", description="the name that the servers' certificate carries"
    )


class DatabaseSettings(BaseSettings):
    """How a service reaches Postgres."""

    model_config = SettingsConfigDict(env_prefix="LATTICE_DATABASE_", extra="ignore", frozen=True)

    url: str = Field(description="postgresql+asyncpg://user:password@host:port/database")
    pool_size: int = Field(8, ge=1)
