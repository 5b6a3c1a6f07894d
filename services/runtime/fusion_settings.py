"""The settings of the fusion worker."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from services.runtime.section import Section

MODELS = Path(__file__).resolve().parents[2] / "models"


class FusionSettings(Section):
    """The fusion worker: its model and device, and the bounds of its caches.

    model: a checkpoint, or a folder of versions of which the newest serves; reload_s: how often to look for a newer one,
    0 for never. deadline_ms: when an answer is due after its window was sent; a batch waits for no further window beyond
    that. overload_ms: for each so much work in the queue a level more is left out, up to level_max: 1 early answers, 2
    frames too, 3 the costliest sense too; final windows are always answered.
    """

    model: Path = MODELS / "home"
    reload_s: int = Field(5, ge=0, le=3_600)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cache_mb: int = Field(64, ge=1, le=65_536)
    deadline_ms: int = Field(50, ge=1, le=60_000)
    overload_ms: int = Field(250, ge=10, le=600_000)
    level_max: int = Field(1, ge=0, le=3)
