"""What the agent can be told from outside (`LATTICE_AGENT_…`)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from lattice.settings import ProcessSettings


class AgentSettings(ProcessSettings):
    """How one node is run.  All but the place of its data has a default."""

    model_config = SettingsConfigDict(env_prefix="LATTICE_AGENT_", extra="ignore", frozen=True)

    data_dir: Path = Field(Path("/var/lib/lattice/agent"), description="identity and journal; kept private")
    runtime_dir: Path = Field(
        Path("/run/lattice"), description="a folder in memory for the files of instances"
    )
    policy_file: Path | None = Field(
        None,
        description="the owner's policy, such as /etc/lattice/node-policy.yaml; default: <data_dir>/policy.yaml",
    )
    docker_url: str = "unix:///var/run/docker.sock"
    node_name: str = Field("", description="asked for at enrolment; empty means this machine's host name")
    join_token: SecretStr | None = Field(None, description="needed once, until the node is approved")
    heartbeat_s: float = Field(5.0, gt=0)
    report_s: float = Field(30.0, gt=0)
    fetch_s: float = Field(60.0, gt=0)
    docker_ping_s: float = Field(5.0, gt=0)
    measure_s: float = Field(15.0, gt=0, description="how often it tells what the node and its instances use")
    image_high_percent: float = Field(
        85.0,
        gt=0,
        le=100,
        description="from here on unused images that the agent pulled are removed; 100: never",
    )
    image_low_percent: float = Field(80.0, ge=0, le=100, description="until the disk is less full than this")
    image_min_age_s: float = Field(120.0, ge=0, description="how long an image must have been unused")
    image_look_s: float = Field(300.0, gt=0, description="how often the agent looks whether images may go")
    log_spool_bytes: int = Field(
        512 * 2**20,
        ge=16 * 2**20,
        description="how much of the disk logs may take that the platform has not stored yet; beyond it the oldest go, and gaps are told",
    )
    docker_timeout_s: float = Field(
        10.0, gt=0, description="how long the Engine may take to answer a question"
    )
