"""Find encoders: folders with a manifest `encoder.json`, and the entry points `braid.encoders` of installed packages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.pretrained.encoder import EncoderError, FrozenEncoder

MANIFEST = "encoder.json"
GROUP = "braid.encoders"
# Where each kind is built; imported when an encoder of that kind is opened.
KINDS: Mapping[str, str] = {
    "onnx": "model.pretrained.file_encoder:FileEncoder",
    "tflite": "model.pretrained.file_encoder:FileEncoder",
    "torchscript": "model.pretrained.file_encoder:FileEncoder",
    "torch-export": "model.pretrained.file_encoder:FileEncoder",
    "speech-embedding": "model.pretrained.speech:SpeechEncoder",
    "wordllama": "model.pretrained.words:WordsEncoder",
}
FILE_BYTES_MAX = 2 * 1024**3


class EncoderManifest(BaseModel):
    """The content of `encoder.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="The name by which a model asks for the encoder.")
    modality: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="The modality whose items it encodes.")
    kind: str = Field(description=f"One of {', '.join(KINDS)}.")
    files: dict[str, str] = Field(min_length=1, description="Its files, relative to the folder, with their SHA-256.")
    licence: str = Field("unknown", description="The licence of the weights.")
    source: str = Field("", description="Where the files come from.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the kind, see docs/extend.md.")

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides the vectors."""
        fields = self.model_dump(include={"modality", "kind", "files", "options"})
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class FoundEncoder:
    """An encoder that was found; `problem` says why it cannot be used, and is empty if it can."""

    name: str
    modality: str
    kind: str
    place: str
    licence: str = ""
    problem: str = ""


def read_manifest(folder: Path) -> EncoderManifest:
    """Read a folder's manifest.

    Raises:
        EncoderError: There is none, or it cannot be used.
    """
    path = folder / MANIFEST
    try:
        manifest = EncoderManifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        why = f"{error.strerror}." if isinstance(error, OSError) else _first_problem(error)
        raise EncoderError(f"{path} is not the manifest of an encoder.", why, "See docs/extend.md.") from error
    if manifest.kind not in KINDS:
        raise EncoderError(f"{path}: there is no kind {manifest.kind}.", f"There are {', '.join(KINDS)}.")
    outside = [name for name in manifest.files if not (folder / name).resolve().is_relative_to(folder.resolve())]
    if outside:
        raise EncoderError(f"{path}: {outside[0]} is outside the folder.", do="Put the file into the folder.")
    return manifest


def verify_files(folder: Path, manifest: EncoderManifest) -> None:
    """Check the files of an encoder against the hashes in its manifest.

    Raises:
        EncoderError: A file is missing or differs.
    """
    for name, digest in manifest.files.items():
        try:
            actual = hash_file(folder / name)
        except OSError as error:
            raise EncoderError(
                f"{folder / name} cannot be read.", f"{error.strerror}.", "Add the encoder again."
            ) from error
        if actual != digest:
            raise EncoderError(
                f"{folder / name} is not the file of which the manifest speaks.",
                f"Its SHA-256 is {actual}, not {digest}.",
                f"Restore it, or add it as another encoder with `braid model add {folder / name} --name NAME`.",
            )


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_encoders(folders: Sequence[Path]) -> list[FoundEncoder]:
    """List the encoders in folders and of installed packages, without loading any; the first of a name counts."""
    found: dict[str, FoundEncoder] = {}
    for encoder in (*_in_folders(folders), *map(_of_entry_point, entry_points(group=GROUP))):
        found.setdefault(encoder.name, encoder)
    return sorted(found.values(), key=lambda encoder: encoder.name)


def open_encoder(name: str, folders: Sequence[Path]) -> FrozenEncoder:
    """Open an encoder by name, after its files were verified.

    Raises:
        EncoderError: There is none, or it cannot be used.
    """
    for parent in folders:
        if (parent / name / MANIFEST).is_file():
            return open_folder(parent / name)
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            return _open_entry_point(entry)
    known = ", ".join(encoder.name for encoder in find_encoders(folders)) or "none"
    raise EncoderError(
        f"There is no encoder {name}.",
        f"Found: {known}.",
        f"Get it with `braid model get {name}`, or add a file with `braid model add FILE --name {name}`.",
    )


def open_folder(folder: Path) -> FrozenEncoder:
    """Open the encoder of a folder, after its files were verified.

    Raises:
        EncoderError: It cannot be used.
    """
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    module, _, factory = KINDS[manifest.kind].partition(":")
    try:
        encoder: FrozenEncoder = getattr(import_module(module), factory)(folder, manifest)
    except ImportError as error:
        raise EncoderError(
            f"The encoder {manifest.name} needs the package {error.name}.",
            "It is not installed.",
            "Install it: `pip install 'braid[encoders]'` (for huggingface: `'braid[transformers]'`).",
        ) from error
    return encoder


def _in_folders(folders: Sequence[Path]) -> Iterator[FoundEncoder]:
    for parent in folders:
        for path in sorted(parent.glob(f"*/{MANIFEST}")):
            folder = path.parent
            try:
                manifest = read_manifest(folder)
            except EncoderError as error:
                yield FoundEncoder(folder.name, "", "", str(folder), problem=f"{error.what} {error.why}")
                continue
            missing = [name for name in manifest.files if not (folder / name).exists()]
            problem = f"{missing[0]} is missing" if missing else ""
            if manifest.name != folder.name:
                problem = f"the folder is not named {manifest.name}, as its manifest is"
            yield FoundEncoder(folder.name, manifest.modality, manifest.kind, str(folder), manifest.licence, problem)


def _of_entry_point(entry: EntryPoint) -> FoundEncoder:
    package = entry.dist.name if entry.dist else entry.value
    return FoundEncoder(entry.name, "", "plug-in", package)


def _open_entry_point(entry: EntryPoint) -> FrozenEncoder:
    """Open a plug-in: an entry point names a folder with a manifest, or a function that returns an encoder."""
    try:
        target = entry.load()
        opened: Any = open_folder(Path(target)) if isinstance(target, str | Path) else target()
    except EncoderError:
        raise
    except Exception as error:
        raise EncoderError(
            f"The encoder {entry.name} cannot be opened.",
            f"{entry.value} failed: {type(error).__name__}: {error}",
            "Repair or uninstall the package that brings it.",
        ) from error
    missing = [a for a in ("name", "modality", "digest", "size", "sample_rate", "encode") if not hasattr(opened, a)]
    if missing:
        raise EncoderError(
            f"{entry.value} returns no encoder.", f"It lacks {', '.join(missing)}.", "See docs/extend.md."
        )
    return opened  # type: ignore[no-any-return]


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
