"""What the log store can be told from outside; `LATTICE_LOGS_…`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from lattice.settings import BusSettings, ProcessSettings
from services.logs.exporting.sinks import Sink


class LogsSettings(ProcessSettings):
    """Where lines are kept, and for how long."""

    model_config = SettingsConfigDict(
        env_prefix="LATTICE_LOGS_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    bus: BusSettings = Field(default_factory=BusSettings)
    data_dir: Path = Field(description="holds the segments; of this process alone")
    max_age_s: float = Field(7 * 86_400, gt=0, description="older lines are let go")
    max_bytes_per_project: int = Field(
        10 * 2**30, gt=0, description="beyond, a project's oldest lines are let go"
    )
    segment_bytes: int = Field(64 * 2**20, gt=0, description="a segment is closed when it is so big")
    segment_age_s: float = Field(6 * 3600, gt=0, description="or so old: what is let go is a whole segment")
    tier_url: str | None = Field(
        None,
        description="where packed segments are copied to: s3://bucket/prefix or file:///folder; keys as obstore finds them",
    )
    tier_local_age_s: float = Field(
        86_400.0, gt=0, description="older segments are in the object store alone"
    )
    tier_local_bytes: int = Field(10 * 2**30, gt=0, description="so much of what is there is here, too")
    tier_every_s: float = Field(60.0, gt=0, description="how often to look what is to be copied")
    pack_every_s: float = Field(30.0, gt=0, description="how often to look for closed segments to pack")
    exports: tuple[Sink, ...] = Field((), description="where lines are sent on to: a JSON list")
    retention_every_s: float = Field(60.0, gt=0, description="how often to look what is to be let go")

    @field_validator("tier_url", mode="before")
    @classmethod
    def _may_be_empty(cls, url: object) -> object:
        """A variable that a compose file passes on is there, though nobody set it."""
        return url or None

    @field_validator("exports")
    @classmethod
    def _are_different(cls, sinks: tuple[Sink, ...]) -> tuple[Sink, ...]:
        names = [sink.name for sink in sinks]
        if len(set(names)) < len(names):
            raise ValueError("the same sink is there twice")
        return sinks
