"""Load the model that a verb works with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from services.runtime.settings import load as load_settings

if TYPE_CHECKING:
    from model.predictor import FusionModel
    from services.fusion.inference import Inference

CACHE_BYTES_MAX = 256 * 1024 * 1024


def load_model(folder: Path | None, device: str = "cpu", task: str = "") -> FusionModel:
    """Load a checkpoint.

    Args:
        folder: A checkpoint, or a folder of versions; None means the configured one (fusion.model).
        device: cpu, cuda or auto.
        task: The task to load, for a checkpoint of several tasks.

    Raises:
        CheckpointError: There is no checkpoint, or it cannot be used.
    """
    from model.checkpoint import load

    return load(folder or load_settings().fusion.model, device, task=task)


def load_inference(folder: Path | None, digest: str | None = None) -> Inference:
    """Load a checkpoint as the fusion service does, on the configured device.

    Args:
        folder: A checkpoint, or a folder of versions; None means the configured one.
        digest: The digest of the wanted version; the version that serves is taken if there is none with it.

    Raises:
        CheckpointError: There is no checkpoint, or it cannot be used.
    """
    from services.fusion.inference import Inference
    from services.offline.replay.checkpoints import find_checkpoint

    fusion = load_settings().fusion
    return Inference(load_model(find_checkpoint(folder or fusion.model, digest), fusion.device), CACHE_BYTES_MAX)
