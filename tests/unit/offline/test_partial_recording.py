"""Incomplete recordings are compared as far as they reach; files that are no recordings are rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.contract import window as window_record
from services.contract.kafka_record import KafkaRecord
from services.fusion.inference import Inference
from services.offline.recording.metadata import RecordingError
from services.offline.recording.reader import RecordingFile
from tests.unit.offline import sample_recording

WINDOWS, PREDICTIONS = sample_recording.TOPICS.windows, sample_recording.TOPICS.predictions


@pytest.mark.parametrize("cut", range(0, 24, 3))
def test_a_recording_that_begins_in_the_middle_is_compared_as_far_as_possible(
    published: list[KafkaRecord], inference: Inference, tmp_path: Path, cut: int
) -> None:
    finals = [r for r in published if r.topic == WINDOWS and b'"final":true' in (r.value or b"")]
    first = window_record.decode(finals[cut].value or b"")
    since_ms, media_ms = finals[cut].timestamp, first.opened_us // 1000 - 1
    media = set(sample_recording.TOPICS.media_all)
    records = [
        r
        for r in published
        if r.timestamp >= (media_ms if r.topic in media else since_ms - 1_000 if r.topic == PREDICTIONS else since_ms)
    ]
    begins = {t: {0: min((r.offset for r in records if r.topic == t), default=0)} for t in {*media, WINDOWS}}
    path = sample_recording.write_recording(
        tmp_path / "x.mcap", records, sample_recording.build_metadata(begins, whole=False)
    )
    comparison = sample_recording.replay(path, inference)
    assert comparison.diff.differences == []
    assert comparison.diff.same_bytes
    assert comparison.diff.identical["window"] >= len(finals) - cut - 1


def test_a_recording_that_begins_after_a_reset_is_replayed_in_the_generation_of_its_windows(
    inference: Inference, tmp_path: Path
) -> None:
    published = sample_recording.publish_stream(inference, to_s=40, generation=7)
    metadata = sample_recording.build_metadata({WINDOWS: {0: 0}}, whole=False)
    comparison = sample_recording.replay(
        sample_recording.write_recording(tmp_path / "x.mcap", published, metadata), inference
    )
    assert comparison.diff.differences == []
    assert comparison.diff.identical["window"] > 5


def test_a_partition_of_which_no_window_was_recorded_is_not_compared(
    published: list[KafkaRecord], inference: Inference, tmp_path: Path
) -> None:
    """The recording has its media only because they arrived shortly before the recording began."""
    begins = {t: {0: 1 if t == WINDOWS else 0} for t in (*sample_recording.TOPICS.media_all, WINDOWS)}
    media = [r for r in published if r.topic in sample_recording.TOPICS.media_all]
    comparison = sample_recording.replay(
        sample_recording.write_recording(
            tmp_path / "x.mcap", media, sample_recording.build_metadata(begins, whole=False)
        ),
        inference,
    )
    assert comparison.ok
    assert comparison.diff.uncompared["window"] == 25


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
