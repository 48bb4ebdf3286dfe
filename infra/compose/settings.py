"""What the containers can be told from outside (`LATTICE_COMPOSE_…`, set in `compose.yaml`)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from lattice.settings import ProcessSettings


class ComposeSettings(ProcessSettings):
    """Where the volumes are mounted, and by which address the platform is reached from outside."""

    model_config = SettingsConfigDict(env_prefix="LATTICE_COMPOSE_", extra="ignore", frozen=True)

    root: Path = Field(Path("/lattice"), description="where the volumes are mounted")
    public_host: str = Field("127.0.0.1", description="the name or address by which other machines reach us")
    port: int = Field(8443, ge=1, le=65535, description="the gateway's port on `public_host`")
    apps_domain: str = Field("apps.localhost", description="public names of workloads are below it")
    credential_ttl_s: float = Field(86_400, ge=3, description="life of the services' certificates")
    agent_dir: Path = Field(Path("/var/lib/lattice/agent"), description="identity and journal of the agent")

    @property
    def url(self) -> str:
        """The gateway's address, as people and machines are told it."""
        return f"https://{self.public_host}:{self.port}"

    @property
    def lifetime(self) -> timedelta:
        return timedelta(seconds=self.credential_ttl_s)
