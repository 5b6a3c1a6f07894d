"""Labels that people give: training samples from predictions, stored as `braid train --data` reads them."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.contract import canonical, media_headers
from services.contract.dead_letter import Rejected
from services.contract.media_headers import AudioInfo, wav_from_pcm
from services.contract.transcript import read_transcript
from services.contract.user_errors import EXIT_NOT_RETAINED, EXIT_USAGE, BraidError
from services.runtime.atomic_file import hashed_name, write_atomically
from services.storage.evidence import MemberInput, PredictionEvidence
from services.storage.payload_cache import Payload

MANIFEST, LOCK = "labels.jsonl", "lock"
SUFFIXES = {
    media_headers.JPEG: ".jpg",
    media_headers.PNG: ".png",
    media_headers.WEBP: ".webp",
    media_headers.WAV: ".wav",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
}
LABEL_MAX = 64
SAMPLE_BYTES = 2


class SampleNotRetained(BraidError):
    """A prediction whose inputs are not retained any more."""

    exit_code = EXIT_NOT_RETAINED


class InvalidLabel(BraidError):
    """A label that is empty, too long or not printable."""

    exit_code = EXIT_USAGE


def check_label(label: str) -> None:
    """Raise InvalidLabel unless a label is valid."""
    if not 1 <= len(label) <= LABEL_MAX or not label.isprintable() or label != label.strip():
        raise InvalidLabel(f"A label has 1 to {LABEL_MAX} printable characters and no spaces around them.")


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """A line of the manifest, and its files (suffix and content) by the field that will name them."""

    row: dict[str, Any]
    files: dict[str, tuple[str, bytes]]


def build_sample(evidence: PredictionEvidence, label: str) -> TrainingSample:
    """Build a sample from the newest image, the audio within the window and all text of a prediction.

    Muted modalities are left out, as they were left out of the prediction.

    Raises:
        InvalidLabel: The label is not valid.
        SampleNotRetained: No input is retained any more.
    """
    check_label(label)
    record = evidence.record
    usable = {name for name, stream in record["modalities"].items() if stream["state"] != "muted"}
    inputs = [i for i in evidence.inputs if i.modality in usable and i.payload is not None and i.payload.body]
    row: dict[str, Any] = {
        "id": record["id"],
        "label": label,
        "predicted": record["label"],
        "session": record["session"],
    }
    row["text"] = " ".join(filter(None, (_text(i.payload) for i in inputs if i.modality == "text"))) or None
    files: dict[str, tuple[str, bytes]] = {}
    images = [i.payload for i in inputs if i.modality == "video"]
    if images and images[-1] is not None and (suffix := SUFFIXES.get(_kind(images[-1]))):
        files["image"] = suffix, images[-1].body
    audio = _audio([i for i in inputs if i.modality == "audio"], record["window"]["start"], record["window"]["end"])
    if audio is not None:
        files["audio"] = audio
    if not files and row["text"] is None:
        raise SampleNotRetained(
            "The inputs of this prediction are not retained any more: there is nothing to learn from."
        )
    return TrainingSample(row, files)


class LabelStore:
    """A folder that processes write one at a time; a new label of a prediction replaces the old one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def manifest(self) -> Path:
        """The file for `braid train --data`."""
        return self._folder / MANIFEST

    def save(self, sample: TrainingSample) -> dict[str, Any]:
        """Save a sample and return its line of the manifest. Raises OSError."""
        session = hashed_name(sample.row["session"])
        row: dict[str, Any] = {**sample.row, "image": None, "audio": None}
        with self._locked():
            for field, (suffix, content) in sample.files.items():
                path = self._folder / "media" / session / f"{hashed_name(sample.row['id'])}{suffix}"
                write_atomically(path, content)
                row[field] = str(path.relative_to(self._folder))
            self._rewrite([*(other for other in self.rows() if other["id"] != row["id"]), row])
        return row

    def rows(self) -> list[dict[str, Any]]:
        """Return all valid lines of the manifest. Raises OSError."""
        if not self.manifest.exists():
            return []
        rows = []
        for line in self.manifest.read_bytes().splitlines():
            try:
                row = canonical.loads_object(line)
            except canonical.InvalidJson:
                continue
            if isinstance(row.get("id"), str) and isinstance(row.get("session"), str):
                rows.append(row)
        return rows

    def forget(self, session: str) -> int:
        """Delete the labels and media of a session; return the number of labels. Raises OSError."""
        if not self.manifest.exists():
            return 0
        with self._locked():
            rows = self.rows()
            remaining = [row for row in rows if row["session"] != session]
            self._rewrite(remaining)
            shutil.rmtree(self._folder / "media" / hashed_name(session), ignore_errors=True)
        return len(rows) - len(remaining)

    def _rewrite(self, rows: list[Mapping[str, Any]] | list[dict[str, Any]]) -> None:
        write_atomically(self.manifest, b"".join(canonical.dumps(row) + b"\n" for row in rows))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Other users of the machine must not see what devices recorded.
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _kind(payload: Payload) -> str:
    return media_headers.parse_content_type(payload.content_type)[0]


def _text(payload: Payload | None) -> str:
    if payload is None:
        return ""
    text = read_transcript(payload.content_type, payload.body)
    return "" if isinstance(text, Rejected) else text.strip()


def _audio(inputs: Sequence[MemberInput], start_us: int, end_us: int) -> tuple[str, bytes] | None:
    """Return the PCM of the source with the most audio in the window as one WAV, else the longest audio file."""
    files = [i for i in inputs if i.payload is not None and _kind(i.payload) != media_headers.PCM]
    by_source: dict[str, list[MemberInput]] = {}
    for pcm in inputs:
        if pcm not in files:
            by_source.setdefault(pcm.member.source, []).append(pcm)
    if by_source:
        longest_source = max(by_source.values(), key=lambda chunks: sum(i.member.duration_us for i in chunks))
        wav = _joined_pcm(longest_source, start_us, end_us)
        if wav is not None:
            return ".wav", wav
    longest = max(files, key=lambda i: i.member.duration_us, default=None)
    if longest is None or longest.payload is None or (suffix := SUFFIXES.get(_kind(longest.payload))) is None:
        return None
    return suffix, longest.payload.body


def _joined_pcm(chunks: Sequence[MemberInput], start_us: int, end_us: int) -> bytes | None:
    first = chunks[0].payload
    info = None if first is None else media_headers.measure_audio(first.content_type, first.body)
    if first is None or not isinstance(info, AudioInfo):
        return None
    frame_bytes = SAMPLE_BYTES * info.channels
    samples = bytearray((end_us - start_us) * info.rate // 1_000_000 * frame_bytes)
    used_from, used_to = len(samples), 0
    for chunk in chunks:
        payload = chunk.payload
        if payload is None or payload.content_type != first.content_type:
            continue
        position = (chunk.member.t_us - start_us) * info.rate // 1_000_000 * frame_bytes
        body = payload.body[max(-position, 0) : max(len(samples) - position, 0)]
        position = max(position, 0)
        samples[position : position + len(body)] = body
        if body:
            used_from, used_to = min(used_from, position), max(used_to, position + len(body))
    return wav_from_pcm(first.content_type, bytes(samples[used_from:used_to])) if used_to > used_from else None
