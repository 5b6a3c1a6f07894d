"""A prediction's inputs as one sample that can be trained on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.contract import canonical, media
from services.contract.errors import EXIT_NOT_RETAINED, EXIT_USAGE, BraidError
from services.contract.media import AudioInfo, wav_from_pcm
from services.storage.evidence import MemberInput, PredictionEvidence
from services.storage.payload_cache import Payload

SUFFIXES = {
    media.JPEG: ".jpg",
    media.PNG: ".png",
    media.WEBP: ".webp",
    media.WAV: ".wav",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
}
FIELDS = {"video": "image", "audio": "audio"}
LABEL_MAX = 64
SAMPLE_BYTES = 2


class SampleNotRetained(BraidError):
    """A prediction whose inputs are not retained any more."""

    exit_code = EXIT_NOT_RETAINED


class InvalidLabel(BraidError):
    """A label that is empty, too long or not printable."""

    exit_code = EXIT_USAGE


def check_label(label: str) -> None:
    """Raises InvalidLabel."""
    if not 1 <= len(label) <= LABEL_MAX or not label.isprintable() or label != label.strip():
        raise InvalidLabel(f"A label has 1 to {LABEL_MAX} printable characters and no spaces around them.")


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """One line of a manifest but for its files; files: suffix and content by the manifest's name of the sense."""

    row: dict[str, Any]
    files: dict[str, tuple[str, bytes]]


def build_sample(evidence: PredictionEvidence, label: str) -> TrainingSample:
    """The newest picture, the sound on the window's time line, and all words of a window. Raises InvalidLabel and SampleNotRetained.

    What was muted is left out, as the prediction left it out.
    """
    check_label(label)
    record = evidence.record
    usable = {name for name, sense in record["modalities"].items() if sense["state"] != "muted"}
    found = [i for i in evidence.inputs if i.modality in usable and i.payload is not None and i.payload.body]
    row: dict[str, Any] = {"id": record["id"], "label": label, "said": record["label"], "session": record["session"]}
    row["text"] = " ".join(filter(None, (_words(i.payload) for i in found if i.modality == "text"))) or None
    files: dict[str, tuple[str, bytes]] = {}
    pictures = [i.payload for i in found if i.modality == "video"]
    if pictures and pictures[-1] is not None and (suffix := SUFFIXES.get(_kind(pictures[-1]))):
        files["image"] = suffix, pictures[-1].body
    heard = _sound([i for i in found if i.modality == "audio"], record["window"]["start"], record["window"]["end"])
    if heard is not None:
        files["audio"] = heard
    if not files and row["text"] is None:
        raise SampleNotRetained(
            "The inputs of this prediction are not retained any more: there is nothing to learn from."
        )
    return TrainingSample(row, files)


def _kind(payload: Payload) -> str:
    return payload.content_type.partition(";")[0].strip().lower()


def _words(payload: Payload | None) -> str:
    if payload is None:
        return ""
    text = payload.body.decode(errors="replace")
    if _kind(payload) == "application/json":
        try:
            text = str(canonical.loads_object(payload.body).get("text", ""))
        except canonical.InvalidJson:
            return ""
    return text.strip()


def _sound(found: Sequence[MemberInput], start_us: int, end_us: int) -> tuple[str, bytes] | None:
    """Of PCM one WAV of what of the window was heard by the source that was heard most; of files the longest."""
    encoded = [i for i in found if i.payload is not None and _kind(i.payload) != media.PCM]
    by_source: dict[str, list[MemberInput]] = {}
    for one in found:
        if one not in encoded:
            by_source.setdefault(one.member.source, []).append(one)
    if by_source:
        most = max(by_source.values(), key=lambda of: sum(i.member.duration_us for i in of))
        made = _joined(most, start_us, end_us)
        if made is not None:
            return ".wav", made
    longest = max(encoded, key=lambda i: i.member.duration_us, default=None)
    if longest is None or longest.payload is None or (suffix := SUFFIXES.get(_kind(longest.payload))) is None:
        return None
    return suffix, longest.payload.body


def _joined(found: Sequence[MemberInput], start_us: int, end_us: int) -> bytes | None:
    first = found[0].payload
    length = None if first is None else media.measure_audio(first.content_type, first.body)
    if first is None or not isinstance(length, AudioInfo):
        return None
    frame, rate = SAMPLE_BYTES * length.channels, length.rate
    line = bytearray((end_us - start_us) * rate // 1_000_000 * frame)
    heard_from, heard_to = len(line), 0
    for one in found:
        payload = one.payload
        if payload is None or payload.content_type != first.content_type:
            continue
        at = (one.member.t_us - start_us) * rate // 1_000_000 * frame
        body = payload.body[max(-at, 0) : max(len(line) - at, 0)]
        at = max(at, 0)
        line[at : at + len(body)] = body
        if body:
            heard_from, heard_to = min(heard_from, at), max(heard_to, at + len(body))
    return wav_from_pcm(first.content_type, bytes(line[heard_from:heard_to])) if heard_to > heard_from else None
