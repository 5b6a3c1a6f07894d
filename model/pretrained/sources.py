"""Where the known encoders come from, with the hash of every file; and how a folder of an encoder is made."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.pretrained.encoder import EncoderError
from model.pretrained.manifest import MANIFEST, EncoderManifest, hash_file, open_folder

# A wheel is a zip file; the files in it are the same for every platform, so one wheel is named for all.
WHEEL_PLATFORM = ("manylinux_2_35_x86_64", "manylinux_2_28_x86_64", "manylinux2014_x86_64", "any")
WHEEL_PYTHON = "3.11"


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A released package whose wheel holds the files.

    Attributes:
        requirement: The package and its version.
        digest: SHA-256 of the wheel.
        members: Name in the wheel of each file.
    """

    requirement: str
    digest: str
    members: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WebSource:
    """One file that its publisher serves; the addresses are tried in order."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownEncoder:
    """An encoder that `braid model get` knows; `files` are its files with their SHA-256."""

    modality: str
    kind: str
    licence: str
    summary: str
    source: WheelSource | WebSource
    files: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)


KNOWN: Mapping[str, KnownEncoder] = {
    "speech": KnownEncoder(
        "audio",
        "speech-embedding",
        "Apache-2.0 (Google speech embedding, as packaged by openWakeWord)",
        "Google's speech embedding",
        WheelSource(
            "pyopen-wakeword==1.1.0",
            "754347a59de2b3d378a0cbc404a8b41164036e74fa1c185f88056974e4bfb6b4",
            {
                "melspectrogram.tflite": "pyopen_wakeword/models/melspectrogram.tflite",
                "embedding_model.tflite": "pyopen_wakeword/models/embedding_model.tflite",
            },
        ),
        {
            "melspectrogram.tflite": "96fa0adccb6e8cf95cb14465409a1a2898ee4a96a85bb9ed3c7eb0e68bf163e8",
            "embedding_model.tflite": "c0aea21eb84a4ce90a08c870da41b7a7173b45269e6a3207c71d67c40f3a59d8",
        },
    ),
    "words": KnownEncoder(
        "text",
        "wordllama",
        "MIT (WordLlama, David Lee Miller)",
        "WordLlama's static text embeddings",
        WheelSource(
            "wordllama==0.4.0.post1",
            "42c2c88907ace0b0681ac6f9092d6a300a6409a5d2d61071a3fb5e7159370c97",
            {
                "l2_supercat_tokenizer_config.json": "wordllama/tokenizers/l2_supercat_tokenizer_config.json",
                "l2_supercat_256.safetensors": "wordllama/weights/l2_supercat_256.safetensors",
            },
        ),
        {
            "l2_supercat_tokenizer_config.json": "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
            "l2_supercat_256.safetensors": "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
        },
    ),
    "yamnet": KnownEncoder(
        "audio",
        "tflite",
        "Apache-2.0 (YAMNet, The TensorFlow Authors)",
        "Google's YAMNet, trained on AudioSet: the layer before its 521 classes",
        WebSource(
            (
                "https://storage.googleapis.com/mediapipe-models/audio_classifier/yamnet/float32/1/yamnet.tflite",
                "https://tfhub.dev/google/lite-model/yamnet/classification/tflite/1?lite-format=tflite",
            )
        ),
        {"yamnet.tflite": "10c95ea3eb9a7bb4cb8bddf6feb023250381008177ac162ce169694d05c317de"},
        {
            "samples": 15_600,
            "hop": 7_800,
            "batched": False,
            "layer": "tower0/network/layer28/reduce_mean",
            "transform": "sqrt",
            "pool": "mean+max",
        },
    ),
}


def known_encoder(name: str) -> KnownEncoder:
    """Return a known encoder.

    Raises:
        EncoderError: There is none of that name.
    """
    if name not in KNOWN:
        raise EncoderError(
            f"There is no known encoder {name}.",
            f"Known are {', '.join(KNOWN)}.",
            f"Add a file of your own with `braid model add FILE --name {name}`.",
        )
    return KNOWN[name]


def install_known(name: str, files: Mapping[str, Path], folder: Path) -> Path:
    """Make the folder of a known encoder from files that were fetched; return it.

    Raises:
        EncoderError: A file is not the one that is pinned.
    """
    known = KNOWN[name]
    for file_name, digest in known.files.items():
        actual = hash_file(files[file_name])
        if actual != digest:
            raise EncoderError(
                f"{files[file_name]} is not the {file_name} that Braid knows; nothing was installed.",
                f"Its SHA-256 is {actual}, not {digest}.",
                f"Get the right file, or add this one under another name: `braid model add {files[file_name]} --name NAME`.",
            )
    source = known.source.requirement if isinstance(known.source, WheelSource) else known.source.addresses[0]
    manifest = EncoderManifest(
        name=name,
        modality=known.modality,
        kind=known.kind,
        files=dict(known.files),
        licence=known.licence,
        source=source,
        options=dict(known.options),
    )
    return install_files(manifest, files, folder)


def install_files(manifest: EncoderManifest, files: Mapping[str, Path], folder: Path) -> Path:
    """Copy files and manifest into `folder/<name>`, in one step, after the encoder was opened once; return its folder.

    Raises:
        EncoderError: The encoder cannot be opened.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / manifest.name
    with tempfile.TemporaryDirectory(dir=folder, prefix=".adding-") as temporary:
        made = Path(temporary) / manifest.name
        made.mkdir()
        for name, path in files.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, made / name)
        (made / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
        open_folder(made)
        if target.exists():
            os.rename(target, Path(temporary) / "replaced")
        os.rename(made, target)
    return target
