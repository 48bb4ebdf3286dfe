"""What the scheduler can be told from outside; `LATTICE_SCHEDULER_…`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from lattice.settings import BusSettings, ProcessSettings


class SchedulerSettings(ProcessSettings):
    """How leaders are chosen and how often the scheduler looks without being asked."""

    model_config = SettingsConfigDict(env_prefix="LATTICE_SCHEDULER_", extra="ignore", frozen=True)

    bus: BusSettings = Field(default_factory=BusSettings)
    lease_ttl_s: float = Field(5.0, gt=0.1, description="a leader that is silent for so long is replaced")
    sweep_s: float = Field(10.0, gt=0, description="how often to look without being asked")
