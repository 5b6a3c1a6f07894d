"""Training: scenes made fresh each step, a loss for every branch and for the fusion of random subsets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.data import sets
from model.data.batch import Batch, collate
from model.data.corrupt import shaken_picture, shaken_text
from model.data.outside import Outside
from model.data.scene import WINDOW_SEGMENTS, SceneMaker
from model.encoders.audio import SEGMENT_SAMPLES, LogMel
from model.encoders.image import prepare_image
from model.encoders.text import Vocabulary, read_vectors
from model.labels import LABELS, NOTHING
from model.network import MODALITIES, FusionNetwork

# Sentences and pictures of each step that are of no label.
STRANGE = 12


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a training depends on beside the data; the same recipe gives the same weights on one machine."""

    seed: int = 7
    single_steps: int = 1000
    sounds_per_step: int = 96
    single_learning_rate: float = 4e-3
    steps: int = 450
    scenes_per_step: int = 8
    learning_rate: float = 2e-3
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Trained:
    """The network, the words of its text branch, and the loss at each report."""

    network: FusionNetwork
    words: list[str]
    curve: list[dict[str, float]]


def train(data: Path, recipe: Recipe, report: Callable[[int, dict[str, float]], None]) -> Trained:
    """Train from the training items in `data`; `report` is called every few steps with the step and the losses."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    rng = np.random.default_rng(recipe.seed)
    words, table = read_vectors(data / "assistvec" / "vectors.npz")
    vocabulary, log_mel = Vocabulary(words), LogMel()
    digits, clips = sets.digits(data, "train"), sets.clips(data, "train")
    maker = SceneMaker(digits, clips, sets.noises(data), rng, shake=True)
    network = FusionNetwork(len(LABELS), len(words), table.shape[1])
    network.text.vectors.copy_(table)  # type: ignore[operator]
    curve: list[dict[str, float]] = []
    network.train()
    began = time.monotonic()

    def phase(steps: int, learning_rate: float, losses_of: Callable[[], dict[str, Tensor]], done: int) -> None:
        optimiser = torch.optim.Adam(network.parameters(), learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, max(steps, 3), pct_start=0.1)
        for step in range(1, steps + 1):
            losses = losses_of()
            optimiser.zero_grad()
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            if step % 20 == 0 or step == steps:
                curve.append({"step": done + step, "seconds": round(time.monotonic() - began, 1)})
                curve[-1] |= {name: round(float(loss.detach()), 4) for name, loss in losses.items()}
                report(done + step, curve[-1])

    def alone(sounds: int) -> dict[str, Tensor]:
        heard = _single_sounds(network, maker, log_mel, sounds, rng)
        return {"sounds": heard} | _single(network, vocabulary, digits, clips, maker.outside, rng)

    def everything() -> dict[str, Tensor]:
        batch = collate([maker.make() for _ in range(recipe.scenes_per_step)], vocabulary, LABELS, log_mel)
        masked = replace(batch, spectra=_masked(batch.spectra, rng))
        return _losses(network, masked, rng) | alone(recipe.sounds_per_step // 3)

    # Each sense by itself first: a scene holds few words, and sound, which learns slowest, would be left behind.
    phase(recipe.single_steps, recipe.single_learning_rate, lambda: alone(recipe.sounds_per_step), 0)
    phase(recipe.steps, recipe.learning_rate, everything, recipe.single_steps)
    return Trained(network.eval(), words, curve)


def write_curve(path: Path, curve: list[dict[str, float]]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(point) + "\n" for point in curve))


def forward(network: FusionNetwork, batch: Batch) -> tuple[Tensor, Tensor]:
    """Branches float32 [windows, 3, features] and which are present, bool [windows, 3]."""
    segments = network.segment.spectrum(batch.spectra)
    pictures, texts = network.video(batch.pictures), network.text(batch.words)
    audio = torch.cat([torch.zeros_like(segments[:1]), segments])
    there = {name: rows > 0 for name, rows in batch.rows.items()}
    features = {"text": texts, "video": pictures, "audio": audio}
    branches = network.branches({m: features[m][rows] for m, rows in batch.rows.items()}, there)
    return branches, torch.stack([there[m].any(1) for m in MODALITIES], 1)


def _losses(network: FusionNetwork, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
    branches, present = forward(network, batch)
    losses: dict[str, Tensor] = {}
    for i, (modality, logits) in enumerate(zip(MODALITIES, network.expert_logits(branches).unbind(1), strict=True)):
        there = present[:, i]
        if bool(there.any()):
            losses[modality] = nn.functional.cross_entropy(logits[there], batch.own[modality][there])
    kept = torch.from_numpy(rng.random(present.shape) > 0.3) & present
    kept = torch.where(kept.any(1, keepdim=True), kept, present)
    some = kept.any(1)
    fused = network.mean_logits(branches[some], kept[some])
    losses["mean"] = nn.functional.cross_entropy(fused, batch.labels[some])
    return losses


def _single(
    network: FusionNetwork,
    vocabulary: Vocabulary,
    digits: Sequence[sets.Digit],
    clips: Sequence[sets.Clip],
    outside: Outside,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Sentences, titles and photos by themselves: scenes hold few of them for the time that they take to make."""
    said = [digits[i] for i in rng.integers(0, len(digits), 64)]
    heard = [clips[i] for i in rng.integers(0, len(clips), 32)]
    texts = [shaken_text(d.text, rng) for d in said] + [shaken_text(c.title, rng) for c in heard]
    texts += [outside.sentence() for _ in range(STRANGE)]
    words = torch.from_numpy(np.stack([vocabulary.prepare(text) for text in texts]))
    nothing = [LABELS.index(NOTHING)] * STRANGE
    wanted = torch.tensor([LABELS.index(item.label) for item in (*said, *heard)] + nothing)
    hands = [d.hand for d in said[:32]] + [outside.picture() for _ in range(STRANGE)]
    pictures = np.stack([prepare_image(shaken_picture(hand, rng)) for hand in hands])
    shown = network.heads["video"](network.video(torch.from_numpy(pictures)))
    return {
        "sentences": nn.functional.cross_entropy(network.heads["text"](network.text(words)), wanted),
        "photos": nn.functional.cross_entropy(shown, torch.cat([wanted[:32], wanted[-STRANGE:]])),
    }


def _single_sounds(
    network: FusionNetwork, maker: SceneMaker, log_mel: LogMel, count: int, rng: np.random.Generator
) -> Tensor:
    """Words and home sounds by themselves, in windows of their own."""
    made = [maker.heard_alone() for _ in range(count)]
    samples = np.stack([sound for sound, _ in made]).reshape(-1, SEGMENT_SAMPLES) / 32768
    with torch.no_grad():
        spectra = log_mel(torch.from_numpy(samples.astype(np.float32)))
    segments = network.segment.spectrum(_masked(spectra, rng)).view(count, WINDOW_SEGMENTS, -1)
    feature = network.sound(segments, torch.ones(count, WINDOW_SEGMENTS, dtype=torch.bool))
    wanted = torch.tensor([LABELS.index(label) for _, label in made])
    return nn.functional.cross_entropy(network.heads["audio"](feature), wanted)


def _masked(spectra: Tensor, rng: np.random.Generator) -> Tensor:
    """Bands and stretches of the spectra blanked out (SpecAugment, Park et al. 2019), and another level and tilt."""
    spectra = spectra.clone()
    count, mels, frames = spectra.shape
    for row in np.flatnonzero(rng.random(count) < 0.3):
        low, left = rng.integers(0, mels - 6), rng.integers(0, frames - 8)
        spectra[row, low : low + 6] = spectra[row].mean()
        spectra[row, :, left : left + 8] = spectra[row].mean()
    shift, tilt = (torch.from_numpy(rng.uniform(-w, w, (count, 1, 1)).astype(np.float32)) for w in (0.3, 0.15))
    return spectra + shift + tilt * torch.linspace(-1, 1, mels).view(1, -1, 1)
