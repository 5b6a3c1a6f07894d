"""A user's own set: a manifest of JSON lines with `label` and any of `text`, `video` (or `image`), `audio`, `sensor`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.random import Generator

from model.data import augment
from model.data.example import Example
from model.data.degradations import Severity
from model.encoders.audio import SEGMENT_SAMPLES
from model.encoders.image import resize_image
from model.modality import MODALITIES
from model.sample_manifest import ManifestError, UnreadableRow, read_example, read_rows

VAL_SHARE = 0.2
LABELS_MAX, SEGMENTS_MAX = 1_000, 20
PARTS = ("train", "val", "test")


class ManifestSet:
    """The samples of a manifest; of the rows without `split`, a fifth goes to `val`, chosen by id.

    Paths are relative to the manifest's folder.
    """

    name = "own"
    severities: tuple[Severity, ...] = ("clean",)

    def __init__(self, manifest: Path) -> None:
        """Read all samples.

        Raises:
            ManifestError: If a row cannot be used.
        """
        rows = list(read_rows(manifest))
        labels = {row["label"] for row in rows if isinstance(row, dict) and isinstance(row.get("label"), str)}
        if not 2 <= len(labels) <= LABELS_MAX:
            raise ManifestError(f"{manifest} has {len(labels)} labels; 2 to {LABELS_MAX} can be learned")
        self.labels: tuple[str, ...] = tuple(sorted(labels))
        self._parts: dict[str, list[Example]] = {part: [] for part in PARTS}
        for number, row in enumerate(rows, 1):
            where = f"{manifest}, row {number}"
            if isinstance(row, UnreadableRow):
                raise ManifestError(f"{where}: {row.error}")
            if row.get("label") not in labels:
                raise ManifestError(f"{where}: no label")
            name = str(row.get("id", number))
            example = read_example(row | {"id": name}, manifest.parent, self.labels.index(row["label"]))
            if isinstance(example, UnreadableRow):
                raise ManifestError(f"{where}: {example.error}")
            self._parts[_split_of(row.get("split"), name, where)].append(example)
        examples = [e for part in self._parts.values() for e in part]
        self.modalities: tuple[str, ...] = tuple(
            m for m in MODALITIES if any(e.value(m) is not None for e in examples)
        )
        if not self._parts["train"] or not self._parts["val"]:
            raise ManifestError(f"{manifest}: both `train` and `val` need samples; give `split` or more rows")
        longest = max((len(e.audio) for e in examples if e.audio is not None), default=0)
        self.segments = min(max(-(-longest // SEGMENT_SAMPLES), 4), SEGMENTS_MAX)

    def epoch(self, rng: Generator, ease: float = 0.0) -> list[Example]:
        """Draw the training samples once, each with another pose and pace."""
        train = self._parts["train"]
        return [_augmented(train[i], rng) for i in rng.permutation(len(train))]

    def drawn(self, severity: Severity, rng: Generator) -> Sequence[Example]:
        """Return the validation samples as they are: their corruption is unknown."""
        return self._parts["val"]

    def samples(self, part: str, severity: Severity) -> Sequence[Example]:
        """Return the samples of a split."""
        return self._parts[part]

    def sentences(self) -> list[str]:
        """Return the training sentences, to choose words from."""
        return [e.text for e in self._parts["train"] if e.text is not None]


def _augmented(example: Example, rng: Generator) -> Example:
    video = None if example.video is None else augment.transform_image(resize_image(example.video), rng)
    audio = None if example.audio is None else augment.change_pace(example.audio, rng)
    return replace(example, video=video, audio=audio)


def _split_of(split: object, name: str, where: str) -> str:
    if split is None:
        drawn = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
        return "val" if drawn < VAL_SHARE else "train"
    if split not in PARTS:
        raise ManifestError(f"{where}: split is none of {', '.join(PARTS)}")
    return str(split)
