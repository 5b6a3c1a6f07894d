"""Train sounds against their titles with InfoNCE in both directions (Oord et al. 2018; Radford et al. 2021).

Titles are embedded by pretrained word vectors, and by hashed letter n-grams for words without one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from model.data import augment
from model.data.example import Example
from model.decode import RATE
from model.encoders.audio import RobustAudioEncoder, RobustAudioReader
from model.encoders.text import Lexicon, read_word_vectors, tokenize
from model.modality import FEATURES
from model.tensors import collate_examples
from model.training_state import make_deterministic

SEGMENTS = 8


class SoundNetwork(nn.Module):
    """Audio encoder and reader with a projection to title vectors."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.encoder = RobustAudioEncoder()
        self.reader = RobustAudioReader(FEATURES)
        self.out = nn.Linear(FEATURES, size)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def forward(self, segments: Tensor, present: Tensor) -> Tensor:
        """Embed segments float32 [batch, places, SEGMENT_SAMPLES] as unit vectors float32 [batch, size]."""
        features = self.encoder(segments.flatten(0, 1)).view(*segments.shape[:2], -1)
        return nn.functional.normalize(self.out(self.reader(features, present)), dim=-1)


def collate_segments(examples: list[Example]) -> tuple[Tensor, Tensor]:
    """Cut the audio of examples into segments; return them with a mask of the present ones."""
    tensors = collate_examples(examples, ("audio",), Lexicon(()), SEGMENTS)
    return tensors.inputs["audio"], tensors.present["audio"]


@torch.no_grad()
def embed_sounds(network: SoundNetwork, examples: list[Example], rows: int = 64) -> Tensor:
    """Embed the audio of examples, float32 [examples, size]."""
    network.eval()
    parts = [network(*collate_segments(examples[begin : begin + rows])) for begin in range(0, len(examples), rows)]
    return torch.cat(parts)


NGRAM_LETTERS = 3
HASHED = 64
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


class TitleVectors:
    """Maps a text to a unit vector, float32 [vector size + HASHED]; nothing is learned.

    The first part is the mean of the word vectors, the second of hashed letter trigrams (Bojanowski et al. 2017), by which
    "sneeze" and "sneezing" are near each other though neither has a vector.
    """

    def __init__(self, vectors: Path) -> None:
        words, table = read_word_vectors(vectors)
        values = table.numpy()[2:]
        # Subtract the common mean, which hides differences between word vectors (Mu and Viswanath 2018).
        self._middle = values.mean(0)
        self._rows = dict(zip(words, values - self._middle, strict=True))
        self.size = values.shape[1] + HASHED

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, float32 [texts, size]; a text without letters is zero."""
        return np.stack([self._one(text) for text in texts])

    def _one(self, text: str) -> NDArray[np.float32]:
        words = [word for word in tokenize(text) if word[0] in ALPHABET]
        known = [_normalize(self._rows[word]) for word in words if word in self._rows]
        meant = np.mean(known, 0) if known else np.zeros(self.size - HASHED, np.float32)
        spelled = np.zeros(HASHED, np.float32)
        for word in words:
            bounded = f"<{word}>"
            for begin in range(len(bounded) - NGRAM_LETTERS + 1):
                drawn = hashlib.sha256(bounded[begin : begin + NGRAM_LETTERS].encode()).digest()
                spelled[drawn[0] % HASHED] += 1.0 if drawn[1] & 1 else -1.0
        return _normalize(np.concatenate([_normalize(meant), _normalize(spelled)])).astype(np.float32)


def _normalize(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector


# Titles with at least this cosine count as equal; their sounds are all correct matches.
SAME_TITLE_MIN = 0.98
SCALE_MAX = 100.0


@dataclass(frozen=True, slots=True)
class TransferRecipe:
    """Everything that a training depends on besides the clips; `repeats` is how often an epoch uses each clip."""

    epochs: int = 16
    repeats: int = 2
    batch_size: int = 64
    seed: int = 1
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    threads: int = 1


def train_sound_network(
    clips: Sequence[Example],
    titles: TitleVectors,
    recipe: TransferRecipe,
    report: Callable[[int, float], None] = lambda epoch, loss: None,
) -> SoundNetwork:
    """Train a network that maps a sound to its title's vector; labels are not used."""
    make_deterministic(recipe.threads)
    torch.manual_seed(recipe.seed)
    network = SoundNetwork(titles.size)
    steps = max(len(clips) * recipe.repeats // recipe.batch_size, 1) * recipe.epochs
    optimiser = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, max(steps, 3), pct_start=0.1)
    for epoch in range(recipe.epochs):
        rng = np.random.default_rng([recipe.seed, epoch])
        total, examples = 0.0, _augmented_pairs(clips, recipe.repeats, rng)
        size = min(recipe.batch_size, len(examples))
        network.train()
        for begin in range(0, len(examples) - size + 1, size):
            part = examples[begin : begin + size]
            written = torch.from_numpy(titles([e.text or "" for e in part]))
            loss = info_nce(network(*collate_segments(part)), written, network.log_scale)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * size / len(examples)
        report(epoch + 1, total)
    return network.eval()


def info_nce(sounds: Tensor, titles: Tensor, log_scale: Tensor) -> Tensor:
    """Return the mean InfoNCE loss of both directions for unit vectors float32 [batch, size] that are pairs row by row.

    Rows with the same title are equally correct matches of each other.
    """
    scores = sounds @ titles.T * log_scale.exp().clamp(max=SCALE_MAX)
    same = (titles @ titles.T > SAME_TITLE_MIN) | torch.eye(len(titles), dtype=torch.bool)
    right = same.float() / same.sum(1, keepdim=True)
    by_sound = nn.functional.cross_entropy(scores, right)
    return (by_sound + nn.functional.cross_entropy(scores.T, right)) / 2


def _augmented_pairs(clips: Sequence[Example], repeats: int, rng: Generator) -> list[Example]:
    """Return each clip `repeats` times, with another distance and background and some title words dropped."""
    pairs = []
    for clip in clips:
        for _ in range(repeats):
            bed = clips[int(rng.integers(len(clips)))]
            assert clip.audio is not None
            assert bed.audio is not None
            sound = augment.change_distance(augment.change_pace(clip.audio, rng), bed.audio, SEGMENTS * RATE // 2, rng)
            pairs.append(replace(clip, text=augment.drop_title_words(clip.text or "", rng), audio=sound))
    return [pairs[i] for i in rng.permutation(len(pairs))]
