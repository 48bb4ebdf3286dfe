"""What the alerts service can be told from outside; `LATTICE_ALERTS_…`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from lattice.settings import BusSettings, DatabaseSettings, ProcessSettings


class AlertsSettings(ProcessSettings):
    """How often it looks, and where its pages lead."""

    model_config = SettingsConfigDict(env_prefix="LATTICE_ALERTS_", extra="ignore", frozen=True)

    bus: BusSettings = Field(default_factory=BusSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    key_dir: Path = Field(
        description="where the key of the sinks' addresses is kept; made at the first start"
    )
    look_every_s: float = Field(5.0, gt=0, description="how often to look without being woken by a fact")
    watchdog_every_s: float = Field(60.0, gt=0, description="how often the dead man's switch is told")
    runbook_url: str = Field(
        "docs/runbooks/{runbook}.md",
        description="where the pages of docs/runbooks are: https://docs.example.com/runbooks/{runbook}",
    )
    dashboard_url: str = Field(
        "", description="where dashboards are: https://grafana.example.com/d/{dashboard}"
    )
