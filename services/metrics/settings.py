"""What the gatherer of metrics can be told from outside; `LATTICE_METRICS_…`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from lattice.settings import BusSettings, ProcessSettings


class MetricsSettings(ProcessSettings):
    """Where the last day is kept, and how much of it."""

    model_config = SettingsConfigDict(
        env_prefix="LATTICE_METRICS_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    bus: BusSettings = Field(default_factory=BusSettings)
    data_dir: Path = Field(description="holds the history; of this process alone")
    most_series: int = Field(
        20_000,
        gt=0,
        description="of which the last day is kept, at 6 KiB of memory each; of others only the newest value",
    )
    most_bytes: int = Field(
        512 * 2**20, gt=0, description="beyond, the oldest hours are let go from the disk"
    )
