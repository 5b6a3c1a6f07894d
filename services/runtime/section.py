"""A section of the settings: frozen, and without keys that nobody knows."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """What every section of the settings is made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")
