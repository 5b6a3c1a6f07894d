"""The settings of what is kept on disk: the evidence of events, and the labels that people gave."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path

    def under(self, folder: Path) -> Path:
        """The folder that was set, else the one of the same name under another."""
        return self.folder.absolute() if "folder" in self.model_fields_set else folder / self.folder.name


class KeepEventsSettings(_Kept):
    """What the gateway keeps of each event that ended: for so many days, in so many megabytes; 0 of either: nothing."""

    days: int = Field(7, ge=0, le=3_650)
    max_mb: int = Field(2_000, ge=0, le=10_000_000)
    folder: Path = Path(".braid/evidence")


class LabelSettings(_Kept):
    """Where corrections go: a manifest that `braid train --data` reads, and the media of its rows."""

    folder: Path = Path(".braid/labels")
