"""What every part of a spec has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class SpecModel(BaseModel):
    """Part of what people write: frozen, strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", regex_engine="python-re")
