"""What the environment tells the embedded platform.  Read once per command; nothing else in this package looks at the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

SYSTEM_DATA_DIR = Path("/var/lib/lattice")


class StandaloneSettings(BaseSettings):
    """Where the platform lies, how it is reached, and how patient its start is."""

    model_config = SettingsConfigDict(env_prefix="LATTICE_", extra="ignore", frozen=True)

    data_dir: Path | None = Field(None, description="where the platform keeps everything")
    nats_server: Path | None = Field(None, description="another nats-server than the installed one")
    listen_host: str = Field("127.0.0.1", description="where the gateway and the bus listen; 0.0.0.0 for all")
    public_host: str = Field("127.0.0.1", description="the name or address by which other machines reach us")
    port_range: str = Field("", description="ports to choose from: 28000-28999; default: all from 28000 on")
    apps_domain: str = Field("apps.localhost", description="public names of workloads are below it")
    apps_cert_file: Path | None = Field(
        None,
        description="a certificate of one's own for *.<apps_domain>, with its chain; default: of the platform's CA",
    )
    apps_key_file: Path | None = Field(None, description="its key; default: in the same file")
    service_credential_ttl_s: float = Field(86_400, ge=3, description="life of the services' certificates")
    start_timeout_s: float = Field(120, gt=0, description="how long all parts may take until they are ready")
    nursery: bool = Field(
        True, description="fork the services from one process that has imported them; false: each for itself"
    )
    docker_url: str = Field("unix:///var/run/docker.sock", description="the Docker Engine of this machine")


def default_data_dir() -> Path:
    """Root's platform belongs to the machine, anybody else's to their home."""
    return SYSTEM_DATA_DIR if os.geteuid() == 0 else Path.home() / ".local" / "share" / "lattice"


def ambient_environment() -> dict[str, str]:
    """Everything this process was told; `process_plan` decides what of it a part gets."""
    return dict(os.environ)


def replace_environment(environment: Mapping[str, str]) -> None:
    """This becomes all that this process was told; for a forked one that is to be like one that was executed."""
    os.environ.clear()
    os.environ.update(environment)
