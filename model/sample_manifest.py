"""Read manifests of samples: one JSON object per line; paths of files or shard members relative to the manifest's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.data.example import Example
from model.data.shards import find_file
from model.decode import Undecodable
from model.encoders.image import SIDE
from model.modality import MODALITIES, decoder_of
from services.contract.user_errors import EXIT_USAGE, BraidError

FILE_BYTES_MAX = 64 * 1024 * 1024
LINE_BYTES_MAX = 1024 * 1024
FIELDS: Mapping[str, tuple[str, ...]] = {name: modality.fields for name, modality in MODALITIES.items()}


class ManifestError(BraidError):
    """A manifest that cannot be read."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that cannot be used, and why; the reason does not quote file contents."""

    id: Any
    error: str


def read_rows(path: Path) -> Iterator[dict[str, Any] | UnreadableRow]:
    """Yield the rows of a manifest in order, without empty lines.

    Raises:
        ManifestError: If the file cannot be read.
    """
    try:
        with path.open("rb") as manifest:
            for raw in manifest:
                if raw.strip():
                    yield _parse_line(raw)
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror or type(error).__name__}") from error


def _parse_line(raw: bytes) -> dict[str, Any] | UnreadableRow:
    if len(raw) > LINE_BYTES_MAX:
        return UnreadableRow(None, f"a line of more than {LINE_BYTES_MAX} bytes")
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        return UnreadableRow(None, "not a line of JSON")
    return row if isinstance(row, dict) else UnreadableRow(None, "not a JSON object")


def read_example(row: Mapping[str, Any], root: Path, label: int = -1, jpeg_side: int = SIDE) -> Example | UnreadableRow:
    """Decode the sample of a row, as a model with this `jpeg_side`; null, missing or named in `drop` is absent, not opened."""
    name = row.get("id")
    dropped = row.get("drop") or ()
    if not isinstance(dropped, list | tuple):
        return UnreadableRow(name, "drop is not a list")
    values: dict[str, Any] = {}
    for modality, fields in FIELDS.items():
        value = next((row[field] for field in fields if row.get(field) is not None), None)
        if value is None or modality in dropped or any(field in dropped for field in fields):
            continue
        inline = MODALITIES[modality].inline
        value = _decode_file(modality, root, value, jpeg_side) if inline is None else inline(value)
        if isinstance(value, Undecodable):
            return UnreadableRow(name, f"{modality}: {value.detail}")
        if not MODALITIES[modality].on_grid or len(value):
            values[modality] = value
    return Example(str(name), label).with_values(**values)


def _decode_file(modality: str, root: Path, name: Any, jpeg_side: int) -> Any | Undecodable:
    if not isinstance(name, str):
        return Undecodable("not the path of a file")
    try:
        file = find_file(root / name)
        if file.size > FILE_BYTES_MAX:
            return Undecodable(f"a file of more than {FILE_BYTES_MAX} bytes")
        content = file.read_bytes()
    except (OSError, ValueError) as error:
        return Undecodable(f"no readable file ({type(error).__name__})")
    return decoder_of(modality, jpeg_side)(content, f"{modality}/file")
