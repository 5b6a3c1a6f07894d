"""The base class of every section of the settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of settings that is immutable and rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
