"""Load items of tridigit and homesound10 for the streams model, by split.

Streams S01-S08 are for validation and test: no clip of a recording that one of them plays (or loops as background) is in
the training split. Recordings are identified by their Freesound source, so two clips of one recording stay together.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from model.data.shards import find_file
from model.decode import resample

Split = Literal["train", "val", "test"]
STREAMS = {"val": ("S01", "S02", "S03", "S04"), "test": ("S05", "S06", "S07", "S08")}


@dataclass(frozen=True, slots=True)
class DigitSample:
    """One command number as speech (int16 scale, 8 kHz), hand photo (uint8 [64, 64, 3]) and sentence."""

    label: str
    speech: NDArray[np.float32]
    hand: NDArray[np.uint8]
    text: str


@dataclass(frozen=True, slots=True)
class ClipSample:
    """One home sound (int16 scale, 8 kHz) and the title that its recorder gave it."""

    label: str
    sound: NDArray[np.float32]
    title: str


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSON-lines file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def read_sound(path: Path) -> NDArray[np.float32]:
    """Return the samples of a file or shard member: float32 [n] on the int16 scale, at 8 kHz."""
    samples, rate = soundfile.read(io.BytesIO(find_file(path).read_bytes()), dtype="int16", always_2d=True)
    return resample(samples.mean(axis=1, dtype=np.float32), rate)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return the pixels of a file or shard member: uint8 [height, width, 3]."""
    return np.asarray(Image.open(io.BytesIO(find_file(path).read_bytes())))


def load_digits(data: Path, part: Split) -> list[DigitSample]:
    """Load the tridigit rows of a split."""
    root = data / "tridigit"
    return [
        DigitSample(str(r["digit"]), read_sound(root / r["speech"]), read_image(root / r["hand"]), r["text"])
        for r in read_jsonl(root / "manifest.jsonl")
        if r["split"] == part
    ]


def load_noises(data: Path) -> list[NDArray[np.float32]]:
    """Load the noises for corruption."""
    root = data / "tridigit" / "noise8k"
    return [read_sound(root / f"{r['noise']}.flac") for r in read_jsonl(root / "noise.jsonl")]


def load_clips(data: Path, part: Split) -> list[ClipSample]:
    """Load the clips of a split: for `train`, of recordings that no stream plays; else, those that its streams play."""
    root = data / "homesound10"
    rows = list(read_jsonl(root / "manifest.jsonl"))
    played = {name: {clip for stream in STREAMS[name] for clip in _played_clips(data, stream)} for name in STREAMS}
    used_sources = {r["source_id"] for r in rows if r["audio"] in played["val"] | played["test"]}
    for r in rows:
        r["used"] = r["source_id"] not in used_sources if part == "train" else r["audio"] in played[part]
    return [ClipSample(r["name"], read_sound(root / r["audio"]), r["text"]) for r in rows if r["used"]]


def _played_clips(data: Path, stream: str) -> Iterator[str]:
    mix = json.loads((data / "homestream" / f"{stream}.audio.json").read_text())
    yield mix["ambient"]["clip"]
    yield from (entry["clip"] for entry in mix["audio"] if entry["set"] == "homesound10")
