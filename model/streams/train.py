"""Train the streams model: new scenes each step, a loss per branch and for the fusion of random subsets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.data.example import Batch
from model.data.scene import WINDOW_SEGMENTS
from model.data.training_batches import Curriculum, SingleModalityBatch, prefetch
from model.encoders.text import Vocabulary, read_word_vectors
from model.labels import LABELS
from model.streams.network import MODALITIES, StreamsNetwork
from model.training_state import make_deterministic

# The learning-rate cycle is at least this long; shorter trainings end before it does.
STEPS_MIN = 20


@dataclass(frozen=True, slots=True)
class StreamsRecipe:
    """Everything that a training depends on besides the data; it determines the weights on one machine."""

    seed: int = 7
    single_steps: int = 1000
    sounds_per_step: int = 96
    single_learning_rate: float = 4e-3
    steps: int = 450
    scenes_per_step: int = 8
    learning_rate: float = 2e-3
    threads: int = 1


@dataclass(frozen=True, slots=True)
class TrainedStreams:
    """The network, the words of its text branch, and the loss at each report."""

    network: StreamsNetwork
    words: list[str]
    curve: list[dict[str, float]]


def train(data: Path, recipe: StreamsRecipe, report: Callable[[int, dict[str, float]], None]) -> TrainedStreams:
    """Train on the items in `data`; `report` is called every 20 steps with the step and the losses."""
    make_deterministic(recipe.threads)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng((recipe.seed, 1))
    words, table = read_word_vectors(data / "assistvec" / "vectors.npz")
    lessons = Curriculum(data, Vocabulary(words), recipe.seed)
    network = StreamsNetwork(len(LABELS), len(words), table.shape[1])
    network.text.vectors.copy_(table)  # type: ignore[operator]
    curve: list[dict[str, float]] = []
    network.train()
    start_s = time.monotonic()

    def phase(
        steps: int, learning_rate: float, make: Callable[[], tuple[SingleModalityBatch, Batch | None]], done: int
    ) -> None:
        optimiser = torch.optim.Adam(network.parameters(), learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, max(steps, STEPS_MIN), pct_start=0.1)
        for step, (alone, scenes) in enumerate(prefetch(make, steps, recipe.threads), 1):
            losses = ({} if scenes is None else _losses(network, scenes, rng)) | _single(network, alone, rng)
            optimiser.zero_grad()
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            if step % 20 == 0 or step == steps:
                curve.append({"step": done + step, "seconds": round(time.monotonic() - start_s, 1)})
                curve[-1] |= {name: round(float(loss.detach()), 4) for name, loss in losses.items()}
                report(done + step, curve[-1])

    def both() -> tuple[SingleModalityBatch, Batch]:
        return lessons.alone(recipe.sounds_per_step // 3), lessons.scenes(recipe.scenes_per_step)

    # Single modalities first: a scene holds few words, and audio learns slowest.
    if recipe.single_steps:
        first = recipe.single_steps, recipe.single_learning_rate
        phase(*first, lambda: (lessons.alone(recipe.sounds_per_step), None), 0)
    phase(recipe.steps, recipe.learning_rate, both, recipe.single_steps)
    return TrainedStreams(network.eval(), words, curve)


def write_curve(path: Path, curve: list[dict[str, float]]) -> None:
    """Write one JSON object per line."""
    path.write_text("".join(json.dumps(point) + "\n" for point in curve))


def forward(network: StreamsNetwork, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return branches float32 [windows, 3, features] and a bool mask [windows, 3] of present modalities."""
    segments = network.segment.spectrum(batch.spectra)
    pictures, texts = network.video(batch.pictures), network.text(batch.words)
    audio = torch.cat([torch.zeros_like(segments[:1]), segments])
    masks = {name: rows > 0 for name, rows in batch.rows.items()}
    features = {"text": texts, "video": pictures, "audio": audio}
    branches = network.branches({m: features[m][rows] for m, rows in batch.rows.items()}, masks)
    return branches, torch.stack([masks[m].any(1) for m in MODALITIES], 1)


def _losses(network: StreamsNetwork, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
    branches, present = forward(network, replace(batch, spectra=_masked(batch.spectra, rng)))
    losses: dict[str, Tensor] = {}
    for i, (modality, logits) in enumerate(zip(MODALITIES, network.expert_logits(branches).unbind(1), strict=True)):
        rows = present[:, i]
        if bool(rows.any()):
            losses[modality] = nn.functional.cross_entropy(logits[rows], batch.own[modality][rows])
    used = torch.from_numpy(rng.random(present.shape) > 0.3) & present
    used = torch.where(used.any(1, keepdim=True), used, present)
    some = used.any(1)
    fused = network.mean_logits(branches[some], used[some])
    losses["mean"] = nn.functional.cross_entropy(fused, batch.labels[some])
    return losses


def _single(network: StreamsNetwork, alone: SingleModalityBatch, rng: np.random.Generator) -> dict[str, Tensor]:
    """Compute a loss for each modality by itself."""
    windows = len(alone.spectra_labels)
    segments = network.segment.spectrum(_masked(alone.spectra, rng)).view(windows, WINDOW_SEGMENTS, -1)
    audio = network.sound(segments, torch.ones(windows, WINDOW_SEGMENTS, dtype=torch.bool))
    features = {"sounds": audio, "sentences": network.text(alone.words), "photos": network.video(alone.pictures)}
    labels = {"sounds": alone.spectra_labels, "sentences": alone.word_labels, "photos": alone.picture_labels}
    heads = {"sounds": "audio", "sentences": "text", "photos": "video"}
    return {
        name: nn.functional.cross_entropy(network.heads[heads[name]](features[name]), labels[name]) for name in heads
    }


def _masked(spectra: Tensor, rng: np.random.Generator) -> Tensor:
    """Mask bands and spans of spectra (SpecAugment, Park et al. 2019), and change their level and tilt."""
    spectra = spectra.clone()
    count, mels, frames = spectra.shape
    for row in np.flatnonzero(rng.random(count) < 0.3):
        low, left = rng.integers(0, mels - 6), rng.integers(0, frames - 8)
        spectra[row, low : low + 6] = spectra[row].mean()
        spectra[row, :, left : left + 8] = spectra[row].mean()
    shift, tilt = (torch.from_numpy(rng.uniform(-w, w, (count, 1, 1)).astype(np.float32)) for w in (0.3, 0.15))
    return spectra + shift + tilt * torch.linspace(-1, 1, mels).view(1, -1, 1)
