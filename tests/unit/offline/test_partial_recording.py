"""Recordings of which a part is missing are compared as far as they reach; what is none is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.contract import window as window_record
from services.contract.record import KafkaRecord
from services.fusion.inference import Inference
from services.offline.recording.metadata import RecordingError
from services.offline.recording.reader import RecordingFile
from tests.unit.offline import made

WINDOWS, PREDICTIONS = made.TOPICS.windows, made.TOPICS.predictions


@pytest.mark.parametrize("cut", range(0, 24, 3))
def test_a_recording_that_begins_in_the_middle_is_compared_as_far_as_possible(
    published: list[KafkaRecord], inference: Inference, tmp_path: Path, cut: int
) -> None:
    finals = [r for r in published if r.topic == WINDOWS and b'"final":true' in (r.value or b"")]
    first = window_record.decode(finals[cut].value or b"")
    since_ms, media_ms = finals[cut].timestamp, first.opened_us // 1000 - 1
    media = set(made.TOPICS.media_all)
    kept = [
        r
        for r in published
        if r.timestamp >= (media_ms if r.topic in media else since_ms - 1_000 if r.topic == PREDICTIONS else since_ms)
    ]
    begins = {t: {0: min((r.offset for r in kept if r.topic == t), default=0)} for t in {*media, WINDOWS}}
    path = made.write(tmp_path / "x.mcap", kept, made.about(begins, whole=False))
    found = made.replayed(path, inference)
    assert found.diff.differences == []
    assert found.diff.same_bytes
    assert found.diff.identical["window"] >= len(finals) - cut - 1


def test_a_partition_of_which_no_window_was_recorded_is_not_compared(
    published: list[KafkaRecord], inference: Inference, tmp_path: Path
) -> None:
    """Its media stand in the recording only because they came shortly before it began."""
    begins = {t: {0: 1 if t == WINDOWS else 0} for t in (*made.TOPICS.media_all, WINDOWS)}
    media = [r for r in published if r.topic in made.TOPICS.media_all]
    found = made.replayed(made.write(tmp_path / "x.mcap", media, made.about(begins, whole=False)), inference)
    assert found.ok
    assert found.diff.uncompared["window"] == 25


def test_an_invalid_recording_is_rejected(recording: Path, tmp_path: Path) -> None:
    raw = recording.read_bytes()
    middle = len(raw) // 2
    for name, content in {
        "empty": b"",
        "text": b"hello" * 20,
        "cut": raw[:middle],
        "hurt": raw[:middle] + bytes([raw[middle] ^ 255]) + raw[middle + 1 :],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RecordingError):
            list(RecordingFile(tmp_path / name).records())
    with pytest.raises(RecordingError, match="missing"):
        RecordingFile(tmp_path / "missing")
